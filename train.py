"""Trains a GAN: `python train.py --help`."""

from gan_lightning.cli import train

if __name__ == "__main__":
    train()
