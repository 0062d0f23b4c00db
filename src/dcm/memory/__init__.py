"""The contents that runs have left: opened, asked, generated from, added to, carried elsewhere."""
