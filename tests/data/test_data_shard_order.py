"""Which image of a sharded set comes when: arithmetic, against a stream that is counted out place by place."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from gan_lightning.data.shard_order import Block, ShardOrder, share

COUNTS = [5, 17, 1, 30, 0, 9, 12]                       # uneven, one of them empty
N = sum(COUNTS)
WORLDS = [(1, 1, 1), (1, 4, 3), (2, 4, 3), (3, 5, 2), (3, 1, 8), (7, 16, 5)]  # processes, batch size, lanes


def order(world_size: int = 1, batch_size: int = 4, lanes: int = 3, rank: int = 0, **settings) -> ShardOrder:
    return ShardOrder(**{"counts": COUNTS, "seed": 3, "window": 4} | settings, batch_size=batch_size, rank=rank,
                      world_size=world_size, lanes=lanes)


def images(block: Block) -> list[tuple[int, int, bool]]:
    """(shard, number, mirrored) of what is left of a block, in the order of handing out."""
    read = [(piece.shard, piece.first + i) for piece in block.pieces for i in range(piece.count)]
    return [(*read[place], bool(flip)) for place, flip in zip(block.order, block.flips, strict=True)][block.skip:]


def lane_of(one: ShardOrder, lane: int, position: int, count: int) -> list[tuple[int, int, bool]]:
    endless = (image for block in one.blocks(lane, position) for image in images(block))
    return list(islice(endless, count))


def dealt(world_size: int, batch_size: int, lanes: int, stop: int) -> list[tuple[int, int]]:
    """(process, lane) of each place of the stream, by going through it."""
    given, found = Counter(), []
    for position in range(stop):
        rank = position // batch_size % world_size
        found.append((rank, given[rank] % lanes))
        given[rank] += 1
    return found


@pytest.mark.parametrize("size, parts", [(1, 1), (1, 3), (4, 2), (5, 3)])
def test_share_against_dealing_out(size, parts):
    for stop in range(40):
        every = Counter(place // size % parts for place in range(stop))
        assert [share(stop, size, parts, which) for which in range(parts)] == [every[w] for w in range(parts)]


@pytest.mark.parametrize("world_size, batch_size, lanes", WORLDS)
def test_every_image_has_one_place_in_every_epoch(world_size, batch_size, lanes):
    epochs = 3
    places = dealt(world_size, batch_size, lanes, epochs * N)
    streams = {key: iter(lane_of(order(world_size, batch_size, lanes, key[0]), key[1], 0, count))
               for key, count in Counter(places).items()}
    stream = [next(streams[place])[:2] for place in places]
    everything = sorted((shard, i) for shard, count in enumerate(COUNTS) for i in range(count))
    found = [stream[epoch * N:(epoch + 1) * N] for epoch in range(epochs)]
    assert all(sorted(epoch) == everything for epoch in found)
    assert len(set(map(tuple, found))) == epochs        # each in another order


@pytest.mark.parametrize("world_size, batch_size, lanes", WORLDS)
def test_to_go_on_is_to_have_skipped(world_size, batch_size, lanes):
    for start in (1, 7, N - 1, N, N + 1, 2 * N + 33):
        for rank in range(min(world_size, 3)):
            one = order(world_size, batch_size, lanes, rank)
            assert one.given(start) == sum(r == rank for r, _ in dealt(world_size, batch_size, lanes, start))
            for lane in range(lanes):
                before = dealt(world_size, batch_size, lanes, start).count((rank, lane))
                assert lane_of(one, lane, 0, before + 40)[before:] == lane_of(one, lane, start, 40)


def test_a_lane_reads_a_run_of_whole_shards_and_at_most_two_in_part():
    counts = [6] * 12
    for epoch in (0, 1):
        for rank in range(2):
            one = order(2, 4, 2, rank, counts=counts, window=5)
            runs = one.runs(epoch)
            assert sum(count for _, count in runs) == 72 and runs[0][0] == 0
            for lane in range(2):
                first, count = runs[2 * rank + lane]
                blocks = [block for block in islice(one.blocks(lane, epoch * 72), 20)]
                read, pieces = 0, []
                for block in blocks:
                    if read == count:
                        break
                    read += sum(piece.count for piece in block.pieces)
                    pieces += block.pieces
                assert read == count
                partly = [n for n in Counter({s: sum(p.count for p in pieces if p.shard == s)
                                              for s in {p.shard for p in pieces}}).values() if n < 6]
                assert len(partly) <= 2
                for before, after in zip(pieces, pieces[1:], strict=False):  # from front to back, shard by shard
                    follows = before.first + before.count
                    assert after.first == (follows if after.shard == before.shard else 0)
                    assert after.shard == before.shard or follows == 6


def test_shards_before_the_position_are_not_named():
    one = order(1, 4, 1, counts=[10] * 10, window=10)
    shards = [piece.shard for block in islice(one.blocks(0, 0), 10) for piece in block.pieces]
    assert sorted(shards) == list(range(10)) and shards != list(range(10))
    for start in range(0, 100, 7):
        first = next(one.blocks(0, start))
        assert first.pieces[0].shard == shards[start // 10] and first.pieces[0].first <= start % 10


def test_order_depends_on_seed_epoch_process_and_lane():
    def start(seed: int = 3, rank: int = 0, lane: int = 0, position: int = 0) -> tuple:
        one = order(4, 8, 4, rank, counts=[200], seed=seed, window=16)
        block = next(islice(one.blocks(lane, position), 1, 2))
        return tuple(block.order), tuple(block.flips)

    different = [start(), start(seed=4), start(rank=1), start(lane=1), start(position=200)]
    assert len(set(different)) == 5 and start() == start()
    assert len({flips for _, flips in different}) == 5


def test_half_are_mirrored_and_another_half_each_epoch():
    one = order(1, 8, 1, counts=[1000], window=100)
    both = [dict((i, flip) for _, i, flip in lane_of(one, 0, start, 1000)) for start in (0, 1000)]
    for flips in both:
        assert 420 < sum(flips.values()) < 580          # 5 standard deviations
    assert 420 < sum(both[0][i] != both[1][i] for i in range(1000)) < 580


def test_neighbours_come_from_different_shards():
    lanes = [lane_of(order(1, 16, 8, counts=[50] * 16, window=10), lane, 0, 8) for lane in range(8)]
    stream = [image[0] for row in zip(*lanes, strict=True) for image in row]
    assert all(len(set(stream[i:i + 8])) >= 7 for i in range(0, 64, 8))


@pytest.mark.parametrize("counts, least, most", [([800], 2800, 2800), ([100] * 8, 0, 0), ([101] * 80, 0, 808)])
def test_what_is_read_in_vain_if_shards_begin_at_their_front(counts, least, most):
    """Of one shard, eight readers skip 0/8, 1/8, ... 7/8; of many, each skips a part of one."""
    assert least <= order(1, 4, 8, counts=counts).passed_over(0) <= most


def test_blocks_of_lanes_do_not_end_at_the_same_time():
    one = order(1, 8, 4, counts=[400], window=20)
    first = [len(next(one.blocks(lane, 0)).order) for lane in range(4)]
    assert first == [5, 10, 15, 20]
    assert all(len(block.order) == 20 for block in islice(one.blocks(0, 0), 1, 4))
    assert all(np.array_equal(np.sort(block.order), np.arange(20)) for block in islice(one.blocks(0, 0), 1, 4))
