-- direct_gradient.lua: the part of the direct family for backward weights: m runs over input channels, v over vectors of output
-- channels, and the sum over output pixels, block by block. Tensors are read where they are, unless a schedule moves a block of
-- them into scratch, where its pixels stand close.
local program = require "program"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local reduce = require "reduce"
local cut = require "tiles"
local relayout = require "relayout"
local tile = require "tile"
local copies = require "families/direct_copies"
local direct_gradient = {}

local one_block = reduce.one_block

-- With `ahead` the pixels of diff_dst that the next column tile needs are fetched during this one's: so many of a row by each piece of
-- the input channels.
local function columns_ahead(p, schedule)
  local pieces = #cut.even_pieces(p.ic // p.groups, schedule.inputs)
  return (math.min(p.output[3], reduce.block) + pieces - 1) // pieces
end

-- acc[m][v] over one block of output pixels of one tap, added to the gradient that is there if there are more. pitch: elements
-- between columns and rows of src and of diff. With `fetch` the gradient's lines are fetched while the sum is made, with `ahead`
-- the next channels of src, and pixels of `following`.
local function gradient_kernel(p, inputs, column, target, name, pitch, schedule)
  local lanes, ahead = parts.lanes_of(p, target), schedule.ahead and columns_ahead(p, schedule)
  local pixels = {}
  for i = 0, (ahead or 0) - 1 do
    for v = 0, column.vectors - 1 do pixels[#pixels + 1] = { "following", i * p.oc + v * lanes, 2 } end
  end
  local step = { loop = "columns", steps = { { "src", pitch.src.column }, { "diff_dst", pitch.diff.column } },
    { load = {} }, { fetch = ahead and { { "src", inputs, 2 } } or {} }, { multiply = {} } }
  local row = { loop = "rows", copies = { { "src", "x" }, { "diff_dst", "y" } }, { fetch = pixels }, step,
    steps = { { "src", pitch.src.row }, { "diff_dst", pitch.diff.row }, ahead and { "following", p.output[3] * p.oc } } }
  return tile.kernel { name = name, type = p.type, target = target,
    arguments = { { "src", "in" }, { "diff_dst", "in" }, { "diff_weights", "inout" }, ahead and { "following", "in" },
      { "rows", "count" }, { "columns", "count" } },
    sizes = { m = inputs, v = column.vectors }, registers = { "passing", "held", "sums" },
    sums = { pointer = "diff_weights", register = "acc", { "m", p.oc }, { "v", lanes }, last = column.last },
    held = { pointer = "diff_dst", register = "g", { "v", lanes }, last = column.last },
    passing = { pointer = "src", register = "a", { "m", 1 } }, ending = { temporary = "held" },
    body = { { zero = {}, fetch = schedule.fetch and 1 }, row, { finish = one_block(p) and { "stored" } or { "added", "stored" } } } }
end

-- Pixels of a block at most.
local function block_pixels(p)
  return math.min(reduce.block_rows(p.output[3]), p.output[2]) * math.min(p.output[3], reduce.block)
end

-- Bytes of the input pixels of a block, moved together; or nil and why they are not.
function direct_gradient.copied_bytes(p) return copies.bytes(p, block_pixels(p)) end

-- A panel: the block of diff_dst of one column tile, [pixel][v * lanes]. Where it is, its pixels lie in few sets of the caches when
-- the channels are many.
local function panel_view(p, tile)
  return { from = "diff_dst", to = "out", elements = tile.channels, whole = true, axes = {
    { count = "rows", from = p.output[3] * p.oc, as = "y" }, { count = "columns", from = p.oc, to = tile.width } } }
end

-- A kernel for each run of equal column tiles and run of equal input pieces; runs: {run, panel = kernel, kinds}.
local function tile_runs(p, schedule, target, kernels)
  local columns = math.min(p.output[3], reduce.block)
  local src = { column = p.stride[3] * p.ic, row = p.stride[2] * p.input[3] * p.ic }
  if schedule.copies then src = { column = copies.pitch(p), row = columns * copies.pitch(p) } end
  local lanes = parts.lanes_of(p, target)
  local list = {}
  local function add(kernel)
    kernels[#kernels + 1] = kernel
    return kernel
  end
  for _, run in ipairs(cut.column_runs(cut.columns(p.oc // p.groups, schedule.vectors, lanes))) do
    local width, kinds = run.tile.width, {}
    local diff = { column = p.oc, row = p.output[3] * p.oc }
    if schedule.panel then diff = { column = width, row = columns * width } end
    local panel = schedule.panel and add(relayout.copy(panel_view(p, run.tile),
      { name = "panel" .. #kernels, type = p.type, target = target }))
    for _, inputs in ipairs(cut.piece_runs(p.ic // p.groups, schedule.inputs)) do
      local n, before = #kernels, kinds[#kinds] and kinds[#kinds].inputs.count or 0 -- there are two kinds at most
      local gradient = add(gradient_kernel(p, inputs.size, run.tile, target, "gradient" .. n, { src = src, diff = diff }, schedule))
      local zero = not one_block(p) and add(reduce.zero_kernel(p, target, "zero" .. n,
        reduce.rows(reduce.vectors(run.tile, lanes), inputs.size, p.oc)))
      kinds[#kinds + 1] = { inputs = inputs, before = before, gradient = gradient, zero = zero }
    end
    list[#list + 1] = { run = run, panel = panel, kinds = kinds }
  end
  return list
end

-- The part [low, high) of each index that slice number `slice` of `slices` visits: the index that divides best is cut.
local function part_of(count, slice, slices)
  return { driver.quotient(slice * count, slices), driver.quotient(slice * count + count, slices) }
end

local function sliced(counts, slice, slices)
  local best, least
  for i, count in ipairs(counts) do
    local waste = (count + slices - 1) // slices * slices / count
    if not best or waste < least then best, least = i, waste end
  end
  local ranges = {}
  for i, count in ipairs(counts) do
    ranges[i] = i == best and part_of(count, slice, slices) or { 0, count }
  end
  return best, ranges
end

-- The places kd, kh, kw of a tap's number.
local function tap_places(d, kernel, tap)
  local function place(name, e, count) return count == 1 and driver.expr(0) or d:let(name, e) end
  local within = kernel[1] == 1 and tap or driver.rest(tap, kernel[2] * kernel[3])
  return { place("kd", driver.quotient(tap, kernel[2] * kernel[3]), kernel[1]),
    place("kh", driver.quotient(within, kernel[3]), kernel[2]), place("kw", driver.rest(within, kernel[3]), kernel[3]) }
end

-- Visits the tiles of a run that belong to a slice, column tile by column tile: at_tile(first output channel),
-- at_tap(kd, kh, kw; group, first output channel), then visit(kind, first input channel of a group, where the gradient begins).
local function each_tile(d, p, part, width, slice, at_tile, at_tap, visit)
  local kernel, icg, ocg = p.kernel, p.ic // p.groups, p.oc // p.groups
  local most = 0
  for _, kind in ipairs(part.kinds) do most = math.max(most, kind.inputs.count) end
  local cut_index, ranges = sliced({ p.groups, part.run.count, kernel[1] * kernel[2] * kernel[3], most }, slice, p.threads)
  d:loop("g", ranges[1][1], ranges[1][2], 1, function(g)
    d:loop("tile", ranges[2][1], ranges[2][2], 1, function(tile)
      local c = d:let("c", g * ocg + (tile + part.run.index) * width)
      at_tile(c)
      d:loop("tap", ranges[3][1], ranges[3][2], 1, function(tap)
        local here = at_tap(tap_places(d, kernel, tap), g, c)
        local to = d:let("to", tap * (icg * p.oc) + c)
        for _, kind in ipairs(part.kinds) do
          local range = cut_index == 4 and part_of(kind.inputs.count, slice, p.threads) or { 0, kind.inputs.count }
          d:loop("m", range[1], range[2], 1, function(m)
            local i = d:let("i", m * kind.inputs.size + kind.inputs.first)
            visit(kind, here, i, to + i * p.oc, m)
          end)
        end
      end)
    end)
  end)
end

-- Where the pixels of the column tile from channel c on begin; after the last one the pixels of the next block, which follow in memory.
local function following(d, p, block, pixel, c)
  local channel = d:let("channel", driver.min(c, p.oc))
  return d:let("following", block.plane + pixel + channel + driver.quotient(channel, p.oc) * (block.rows * (p.output[3] * p.oc) - p.oc))
end

-- What a tap sees of a block {n, od, row, chunk} of pixels: where its source and diff begin, and how many rows and columns.
local function seen_by_tap(d, p, block, k, g, c, moves, width)
  local src_row, dst_row = p.input[3] * p.ic, p.output[3] * p.oc
  local function clipped(name, axis, at, size)
    local low, stop = gather.valid_outputs(d, p, axis, k[axis], name)
    if at then low, stop = d:let(name .. "_from", driver.max(low, at)), driver.min(stop, at + size) end
    return low, d:let(name .. "_count", driver.max(stop - low, 0))
  end
  local _, planes = clipped("od", 1, block.od, 1)
  local row, rows = clipped("row", 2, block.row, reduce.block_rows(p.output[3]))
  local column, columns = clipped("column", 3, block.chunk, reduce.block)
  local from = (block.n * p.input[1] + block.od * p.stride[1] + k[1] * p.dilation[1] - p.pad[1]) * (p.input[2] * src_row) +
    (row * p.stride[2] + k[2] * p.dilation[2] - p.pad[2]) * src_row +
    (column * p.stride[3] + k[3] * p.dilation[3] - p.pad[3]) * p.ic + g * (p.ic // p.groups)
  local with = { d.dst, d:let("with", block.plane + row * dst_row + column * p.oc + c) }
  if moves.paneled then
    with = { d.scratch, d:let("with", (row - block.row) * (math.min(p.output[3], reduce.block) * width) +
      (column - (block.chunk or 0)) * width + moves.panel) }
  end
  return { from = d:let("from", from), with = with, rows = d:let("rows", planes * rows), columns = columns,
    following = moves.ahead and following(d, p, block, row * dst_row + column * p.oc, c + width) }
end

-- One block of pixels for all tiles of a slice, so that the block is read from the cache near the processor but once.
local function block_body(d, p, runs, width, moves, slice, block)
  local src_row, dst_row = p.input[3] * p.ic, p.output[3] * p.oc
  local chunk = block.chunk or driver.expr(0)
  local rows = driver.min(driver.expr(p.output[2]) - block.row, reduce.block_rows(p.output[3]))
  local columns = driver.min(driver.expr(p.output[3]) - chunk, reduce.block)
  if moves.copy then
    local from = (block.n * p.input[1] + block.od * p.stride[1]) * (p.input[2] * src_row) + block.row * (p.stride[2] * src_row) +
      chunk * (p.stride[3] * p.ic)
    d:call(moves.copy, { { d.src, from }, { d.scratch }, rows, columns })
  end
  block.rows = rows
  block.plane = (block.n * p.output[1] + block.od) * (p.output[2] * dst_row)
  for _, part in ipairs(runs) do
    each_tile(d, p, part, width, slice, function(c)
      if not part.panel then return end
      d:call(part.panel, { { d.dst, block.plane + block.row * dst_row + chunk * p.oc + c }, { d.scratch, moves.panel }, rows, columns })
    end, function(k, g, c)
      return seen_by_tap(d, p, block, k, g, c, moves, part.run.tile.width)
    end, function(kind, here, i, to, m)
      local source = moves.copy and { d.scratch, i } or { d.src, here.from + i }
      local args = { source, here.with, { d.weights, to } }
      if moves.ahead then
        args[4] = { d.dst, here.following + driver.min((m + kind.before) * moves.ahead, here.columns - moves.ahead) * p.oc }
      end
      args[#args + 1], args[#args + 2] = here.rows, here.columns
      d:call(kind.gradient, args)
    end)
  end
end

-- A task is a slice of the output tiles; it goes over the pixels once.
local function gradient_part(p, runs, width, moves)
  local height, columns = p.output[2], p.output[3]
  return { indices = { { "slice", p.threads } }, body = function(d, slice)
    for _, part in ipairs(one_block(p) and {} or runs) do
      each_tile(d, p, part, width, slice, function() end, function() end, function(kind, _, _, to)
        d:call(kind.zero, { { d.weights, to } })
      end)
    end
    d:loop("n", 0, p.batch, 1, function(n)
      d:loop("od", 0, p.output[1], 1, function(od)
        d:loop("block", 0, height, reduce.block_rows(columns), function(row)
          local block = { n = n, od = od, row = row }
          if columns <= reduce.block then return block_body(d, p, runs, width, moves, slice, block) end
          d:loop("chunk", 0, columns, reduce.block, function(chunk)
            block.chunk = chunk
            block_body(d, p, runs, width, moves, slice, block)
          end)
        end)
      end)
    end)
  end }
end

-- Elements of what a task moves into scratch: the copied inputs, then the panel.
local function moved(p, schedule, target, kernels)
  local size = parts.size_of(p)
  local copied = schedule.copies and direct_gradient.copied_bytes(p) // size or 0
  local panel = schedule.panel and block_pixels(p) * schedule.vectors * parts.lanes_of(p, target) or 0
  local moves = { panel = copied, paneled = schedule.panel, bytes = (copied + panel) * size, ahead = schedule.ahead and columns_ahead(p, schedule) }
  if schedule.copies then
    moves.copy = relayout.copy(copies.view(p), { name = "copy", type = p.type, target = target })
    kernels[#kernels + 1] = moves.copy
  end
  return moves
end

-- Kernels and stages of a schedule; see families in convgen.lua.
function direct_gradient.stages(p, schedule, target)
  local lanes = parts.lanes_of(p, target)
  local kernels = {}
  local moves = moved(p, schedule, target, kernels)
  local runs = tile_runs(p, schedule, target, kernels)
  local stages = { driver.stage { name = "compute", scratch = moves.bytes,
    parts = { gradient_part(p, runs, schedule.vectors * lanes, moves) } } }
  if p.bias then stages[2] = reduce.bias_stage(p, target, kernels) end
  return { kernels = kernels, stages = stages, packed = 0, shared = 0 }
end

return direct_gradient
