"""How a roll is looked at: filtered, sorted, folded, marked. Pure."""
