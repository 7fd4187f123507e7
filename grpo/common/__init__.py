"""What every part uses: errors, reading of recipes, the console, hardware."""
