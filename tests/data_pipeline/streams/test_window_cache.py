"""One window a lane, and only of lanes that are being read."""

from data_pipeline.streams.window_cache import WindowCache


def test_a_lane_holds_its_newest_window_and_loads_it_once() -> None:
    loaded: list[str] = []
    cache: WindowCache[str] = WindowCache()

    def read(lane: int, number: int) -> str:
        def load() -> str:
            loaded.append(f"{lane}.{number}")
            return loaded[-1]

        return cache.get(lane, (0, number), load)

    for number in range(3):
        for _ in range(5):
            cache.begin_read(4)
            assert [read(lane, number) for lane in range(4)] == [f"{lane}.{number}" for lane in range(4)]
            assert len(cache) == 4
    assert sorted(loaded) == [f"{lane}.{number}" for lane in range(4) for number in range(3)]


def test_small_batches_that_go_round_the_lanes_load_nothing_twice() -> None:
    cache: WindowCache[int] = WindowCache()
    loaded: list[int] = []
    for turn in range(40):
        cache.begin_read(8)
        cache.get(turn % 8, (0, 0), lambda: loaded.append(1) or 0)
    assert len(loaded) == len(cache) == 8


def test_a_lane_that_others_read_is_let_go() -> None:
    cache: WindowCache[int] = WindowCache()
    cache.begin_read(4)
    cache.get(1, (0, 0), int)
    for _ in range(5):
        cache.begin_read(4)
        cache.get(0, (0, 0), int)
    assert len(cache) == 1
