"""Samples from a trained GAN: `python sample.py --help`."""

from gan_lightning.cli import sample

if __name__ == "__main__":
    sample()
