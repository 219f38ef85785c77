"""What files hold: models and devices, each figure with its source."""
