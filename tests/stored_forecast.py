"""Fields written into a forecast store as the writer of a forecast does it, for tests of the store and its readers."""

from fuxi_ens.forecast.shard import FieldMaker, Shard


def write_frames(store, init_time, first_lead, frames_MLCHW, channels=None, numbers=None, grid=None):
    """Write lead times of a block of members, [member, lead, channel, latitude, longitude] in model units.

    `channels` are those of the frames; `numbers` the block, None all members; `grid` that of the frames.
    """
    layout = store.layout
    columns = [(channels or layout.channels).index(name) for name in layout.channels]
    numbers = range(layout.members) if numbers is None else numbers
    maker = FieldMaker(layout, grid or layout.grid)
    shard = None
    for lead in range(first_lead, first_lead + frames_MLCHW.shape[1]):
        shard = shard or Shard(layout, numbers, lead)
        maker.fill(shard, lead, numbers, frames_MLCHW[:, lead - first_lead][:, columns])
        if shard.is_full:
            for name, values in shard.take():
                store.write(init_time, numbers, shard.first_lead, name, values)
            shard = None
