"""Scores of a trained GAN, of a folder of images, or of a data set: `python evaluate.py --help`."""

from gan_lightning.cli import evaluate

if __name__ == "__main__":
    evaluate()
