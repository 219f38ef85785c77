"""Models, devices, rates and serving engines: data files, each figure with its source."""
