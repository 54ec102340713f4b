"""What can be done with each molecule of a batch: one file each, `chunks.WORKS` names them."""
