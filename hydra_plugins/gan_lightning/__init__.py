"""What Hydra finds of gan_lightning: it imports every module here at each start, so they import nothing slow."""
