"""Models trained by recipes, robustly or not."""
