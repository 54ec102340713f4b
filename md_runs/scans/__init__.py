"""What `polcalc scan` does: the energy along bonds, angles and dihedral angles."""
