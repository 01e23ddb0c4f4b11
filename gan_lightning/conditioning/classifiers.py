"""Heads that tell the class of an image: AC-GAN's, its twin's, and a multi-class hinge."""

import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.conditioning.base import Head, class_logits
from gan_lightning.tasks.base import Step


class AuxiliaryClassifier(Head):
    """D classifies, and G makes what is classified as its label (Odena et al. 2017, arXiv:1610.09585, eq. 3).

    Args:
        on_fakes: D learns from the labels of fakes too, as in the paper; false, as many later works have it, keeps a
            weak G from teaching D wrong classes.
    """

    def __init__(self, num_features: int, num_classes: int, on_fakes: bool = True):
        super().__init__()
        self.num_classes, self.on_fakes = num_classes, on_fakes
        self.classify = nn.Linear(num_features, num_classes)

    def d_loss(self, step: Step) -> Tensor:
        loss = F.cross_entropy(class_logits(self.classify, step.real_features), step.cond)
        if self.on_fakes:
            loss = loss + F.cross_entropy(class_logits(self.classify, step.fake_features), step.cond)
        return loss

    def g_loss(self, step: Step) -> Tensor:
        return F.cross_entropy(class_logits(self.classify, step.fake_features), step.cond)


class TwinAuxiliaryClassifier(AuxiliaryClassifier):
    """A second classifier, of fakes alone, that G deceives: what it knows of the label of a fake is what fakes of a
    class have too little variety by (Gong et al. 2019, arXiv:1907.02690, eq. 5)."""

    def __init__(self, num_features: int, num_classes: int, on_fakes: bool = False):
        super().__init__(num_features, num_classes, on_fakes)
        self.twin = nn.Linear(num_features, num_classes)

    def d_loss(self, step: Step) -> Tensor:
        return super().d_loss(step) + self._twin_loss(step)

    def g_loss(self, step: Step) -> Tensor:
        return super().g_loss(step) - self._twin_loss(step)

    def _twin_loss(self, step: Step) -> Tensor:
        return F.cross_entropy(class_logits(self.twin, step.fake_features), step.cond)


class MultiHinge(Head):
    """K + 1 scores: those of reals of each class, and that of fakes. The right one is to lead all others by a margin of
    1; for G that is its label's (Kavalerov et al. 2019, arXiv:1912.04216, eqs. 4 and 5)."""

    def __init__(self, num_features: int, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        self.score = nn.Linear(num_features, num_classes + 1)

    def d_loss(self, step: Step) -> Tensor:
        fake = step.cond.new_full(step.cond.shape, self.num_classes)
        return (crammer_singer(class_logits(self.score, step.real_features), step.cond)
                + crammer_singer(class_logits(self.score, step.fake_features), fake))

    def g_loss(self, step: Step) -> Tensor:
        return crammer_singer(class_logits(self.score, step.fake_features), step.cond)


def crammer_singer(scores: Tensor, label: Tensor) -> Tensor:
    """mean max(0, 1 - s_label + max_{k != label} s_k) of scores (N, K) (Crammer & Singer 2001)."""
    right = scores.gather(1, label[:, None])
    others = scores.scatter(1, label[:, None], float("-inf"))
    return F.relu(1 - right + others.max(1, keepdim=True).values).mean()
