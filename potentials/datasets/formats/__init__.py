"""File formats, units and the names under which files tell charge and multiplicity."""
