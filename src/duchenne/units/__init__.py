"""Action units: how probably each is shown, in images and over time. It knows no verdict and no emotion."""
