"""duchenne tells genuine from posed facial expressions in video."""
