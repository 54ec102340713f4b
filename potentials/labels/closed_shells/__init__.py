"""organic: labels of molecules and clusters in closed shells by the teacher, AIMNet2."""
