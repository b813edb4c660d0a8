-- planar_cost.lua: what planar's schedules cost: the steps and stores of their tiles, what is turned round, and the
-- lines that these read.
local cut = require "tiles"
local parts = require "parts"
local counts = require "counts"
local gathering = require "families/planar_gather"
local planar_cost = {}

---- forward and backward data -----------------------------------------------------------------------------------------

-- Counts the steps, calls and stores of a run of tiles of all rows for pieces of channels.
local function count_tile(t, s, run, piece)
  local times, v, c, m = s.p.batch * s.p.groups * run.count * piece.count, run.variant.vectors, s.counts, piece.size
  for _, segment in ipairs(run.variant.segments) do
    local active = segment.vectors
    t:steps(times * c.seen * segment.taps * s.from.channels, m * active, m + active, m * active)
    t:loops(times * c.seen)
  end
  t:calls(times * c.rows)
  local ragged = run.variant.last < s.lanes and not s.moves_out and 1 or 0
  t:stores(times * c.rows * m * (v - ragged), times * c.rows * m * ragged)
end

-- Counts the tiles of all rows; answers how many a row has.
local function count_tiles(t, s, schedule)
  local tiles = 0
  for _, axis in ipairs(s.axes[3]) do
    for _, run in ipairs((gathering.row_runs(s, axis, schedule.vectors))) do
      tiles = tiles + run.count
      for _, piece in ipairs(cut.piece_runs(s.to.channels, schedule.channels)) do count_tile(t, s, run, piece) end
    end
  end
  return tiles
end

-- Counts laying out the input for the rows of all tasks, and turning the results round.
local function count_moves(t, s, schedule)
  local c, from, to, rows = s.counts, s.from, s.to, 0
  for _, axis in ipairs(s.moves_in and s.axes[2] or {}) do
    local reach = math.min(schedule.rows * axis.step + axis.taps - 1, from.size[2])
    rows = rows + counts.blocks({ axis }, schedule.rows) * reach
  end
  local lines = s.p.batch * c.d.seen * rows * (from.neighbours and from.all or 1)
  local turned = from.neighbours and math.max(1, s.part / s.step) or (from.all + s.part - 1) // s.part
  t:calls(lines)
  t:turns(lines * from.size[3] * turned)
  if s.moves_out then t:turns(s.p.batch * c.rows * to.size[3] * ((to.all + s.part - 1) // s.part)) end
end

-- Counts the lines of weights, input and output for `tiles` tiles a row.
local function count_lines(t, s, schedule, tiles)
  local p, c, from, to, size = s.p, s.counts, s.from, s.to, s.size
  local pieces = schedule.panel and (to.channels + schedule.channels - 1) // schedule.channels or 1
  local panel, row = s.taps * from.channels * to.channels * size / pieces, c.w.read * size
  local all = parts.activation_bytes(p) + parts.weight_bytes(p)
  counts.panels(t, { first = p.groups * pieces, panel = panel, far = all,
    all = p.batch * p.groups * c.seen / (p.kernel[1] * p.kernel[2]) * tiles * pieces,
    near = schedule.vectors * s.lanes * from.channels * size })
  counts.input(t, s, { times = p.groups, chunk = row, pitch = s.moves_in and row or from.c * size, passes = pieces,
    units = from.channels, once = from.channels, first = all, panel = panel,
    next = p.batch * c.d.once * c.h.once * row * from.channels })
  t:write(p.batch * to.all * c.rows, c.w.outputs * size, (to.neighbours and to.c or c.w.outputs) * size,
    parts.pixels(p, to.size) * to.all * size)
end

function planar_cost.gathering(s, schedule)
  local p, t = s.p, s.m.tally()
  s.counts = s.counts or counts.of(s.axes)
  count_lines(t, s, schedule, count_tiles(t, s, schedule))
  count_moves(t, s, schedule)
  local tasks = p.batch * s.counts.d.outputs * counts.blocks(s.axes[2], schedule.rows)
  return counts.shared(t, p, tasks, parts.weight_bytes(p))
end

---- backward weights --------------------------------------------------------------------------------------------------

-- Vectors of a window of a row: its taps and their input channels.
function planar_cost.window_vectors(s) return (s.p.kernel[3] * s.p.ic + s.lanes - 1) // s.lanes end

-- Rows of a window in the lanes: what a step loads crosses lines when it may begin anywhere.
local function count_window(t, s, schedule)
  local p, size = s.p, s.size
  local pitch = p.stride[3] * p.ic * size
  local crossing = pitch % (s.lanes * size) == 0 and p.pad[3] * p.ic % s.lanes == 0 and 1 or 2
  for _, tile in ipairs(cut.piece_runs(p.kernel[2], schedule.rows)) do
    for _, piece in ipairs(cut.piece_runs(p.oc, schedule.outputs)) do
      counts.sums(t, p, p.kernel[1] * tile.count * piece.count,
        { rows = piece.size, vectors = tile.size * planar_cost.window_vectors(s), crossing = crossing },
        { bytes = math.min(p.kernel[3] * p.ic * size, pitch), pitch = pitch, times = tile.size },
        { bytes = piece.size * size, pitch = p.oc * size })
    end
  end
end

local function count_taps(t, s, schedule)
  local p, size, last = s.p, s.size, s.p.layout == "nhwc"
  local pitch, groups = p.stride[3] * (last and p.ic or 1) * size, p.groups * p.kernel[1] * p.kernel[2]
  for _, run in ipairs(cut.runs_of_columns(s.ocg, schedule.vectors, s.lanes)) do
    local v, diff = run.tile.vectors, run.tile.width * size
    for _, inputs in ipairs(cut.piece_runs(s.icg, schedule.inputs)) do
      for _, taps in ipairs(cut.piece_runs(p.kernel[3], schedule.taps)) do
        counts.sums(t, p, groups * run.count * inputs.count * taps.count,
          { rows = inputs.size * taps.size, vectors = v }, { bytes = diff, pitch = last and p.oc * size or diff },
          { bytes = (last and inputs.size or 1) * size, pitch = pitch,
            times = last and math.min(taps.size, p.stride[3]) or inputs.size, waits = "page" })
      end
    end
    if not last then t:turns(p.groups * run.count * parts.pixels(p, p.output) * diff / 16) end
  end
end

-- Totals are added to block by block, in scratch, and are turned round at the end.
function planar_cost.gradient(s, schedule)
  local p, t, all, weights = s.p, s.m.tally(), parts.activation_bytes(s.p), parts.weight_bytes(s.p)
  local count, blocks = schedule.outputs and count_window or count_taps, parts.pixels(p, p.output) / counts.block(p)
  count(t, s, schedule)
  t:read(1, { chunk = all, pitch = all, own = all, others = weights })
  t:stores((blocks + 1) * weights / (s.lanes * s.size))
  t:write(blocks, weights, weights, weights)
  t:copy(1, { chunk = weights, pitch = weights, own = weights })
  if schedule.outputs or p.layout == "nchw" then t:turns(weights / 16) end
  return t:cycles() / p.threads
end

return planar_cost
