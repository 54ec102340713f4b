"""What `polcalc ts` does: saddle points, and the ways down from them."""
