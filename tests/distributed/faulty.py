"""Games that end badly."""

import os
import time

from gan_lightning.errors import UserError
from gan_lightning.tasks.generation import Generation


class Deaf(Generation):
    """The first process does not communicate, so that communication cannot tell it that the other one has gone."""

    def g_loss(self, batch, clock):
        if os.environ["LOCAL_RANK"] == "0" and clock.step == 3:
            print("does not communicate", flush=True)
            time.sleep(600)
        return super().g_loss(batch, clock)


class FailsOnOne(Generation):
    def g_loss(self, batch, clock):
        if os.environ["LOCAL_RANK"] == "1":
            raise ValueError("something is wrong here")
        return super().g_loss(batch, clock)


class FailsOnAll(Generation):
    def g_loss(self, batch, clock):
        raise UserError("something is wrong everywhere")
