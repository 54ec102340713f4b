"""What `polcalc batch` does: a hundred thousand molecules, whatever becomes of one."""
