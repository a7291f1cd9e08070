"""What was found, for people: numbers, tables and figures, made from results alone; no model is ever asked here."""
