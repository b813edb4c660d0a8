-- direct.lua: the outer-product kernel, acc[m][v] += broadcast(A[m]) * B[v], channels in the lanes: channels-last data, and
-- channels-first data that a task lays out.
--
-- Forward and backward data are in direct_gather.lua, backward weights in direct_gradient.lua; here are the names of schedules,
-- the space and its estimate. The canonical order holds: taps, then channels; for backward weights blocks of output pixels.
local parts = require "parts"
local registers = require "registers"
local cut = require "tiles"
local cost = require "cost"
local counts = require "counts"
local copies = require "families/direct_copies"
local gathering = require "families/direct_gather"
local planes = require "families/direct_planes"
local gradient = require "families/direct_gradient"

local direct = { name = "direct", version = 4, chains = 1 }

local most_variants, most_parts = 12, 16

---- schedules: direct.p7.v4.rows4[.s2] and direct.i8.v2.panel ------------------------------------------------------------------
-- Forward and backward data: pixels and vectors of a tile, rows of a task; of channels-first data shares of the column tiles.
-- .copies moves the pixels of a strided 1x1 together, .panel the output channels of a tile of backward weights; .fetch fetches early
-- what comes from far: the weights' panel, the gradient's lines. For activations in memory: .across takes a task's pixels through all
-- column tiles and fetches the next ones meanwhile, .stream writes past the caches, .ahead fetches what the next tile sums.

local marks = { "copies", "panel", "fetch", "across", "stream", "ahead" }

function direct.print(s)
  local name = s.inputs and ("direct.i%d.v%d"):format(s.inputs, s.vectors) or
    ("direct.p%d.v%d.rows%d%s"):format(s.pixels, s.vectors, s.rows, s.splits and ".s" .. s.splits or "")
  for _, mark in ipairs(marks) do if s[mark] then name = name .. "." .. mark end end
  return name
end

function direct.parse(name)
  local s = { family = "direct" }
  for _, mark in ipairs(marks) do s[mark] = name:find("." .. mark, 1, true) and true or nil end
  local kind, count, vectors, rest = name:match "^direct%.([ip])(%d+)%.v(%d+)(.*)$"
  if not kind then return nil end
  s[kind == "i" and "inputs" or "pixels"], s.vectors = tonumber(count), tonumber(vectors)
  s.rows, s.splits = tonumber(rest:match "^%.rows(%d+)"), tonumber(rest:match "^%.rows%d+%.s(%d+)")
  return (s.inputs or s.rows) and direct.print(s) == name and s or nil
end

---- the estimate ------------------------------------------------------------------------------------------------------

local size_of, lanes_of, pixels_of, activations = parts.size_of, parts.lanes_of, parts.pixels, parts.activation_bytes

-- A shape, what its axes count, and the runs of a row for each number of pixels; all are made once.
local function shapes(p)
  local known = {}
  return function(copied)
    copied = copied or false
    if known[copied] then return known[copied] end
    local s, rows = gathering.shape(p, copied), {}
    function s.rows_of(axis, pixels)
      local key = pixels * #s.axes[3] + axis.start
      rows[key] = rows[key] or table.pack(cut.row_runs(axis, pixels, gathering.contiguous(s, axis)))
      return table.unpack(rows[key])
    end
    s.counts, known[copied] = counts.of(s.axes), s
    return s
  end
end

-- Counts the steps of all rows for a run of column tiles; answers how often its panels are read.
local function count_steps(t, s, schedule, run)
  local c, v, pieces, times = s.counts, run.tile.vectors, 0, s.p.batch * s.p.groups * run.count
  for _, axis in ipairs(s.axes[3]) do
    for _, row in ipairs(axis.taps > 0 and s.rows_of(axis, schedule.pixels) or {}) do
      pieces = pieces + row.count
      for _, segment in ipairs(row.variant.segments) do
        local rows, n = segment.last - segment.first + 1, times * c.seen * row.count
        t:steps(n * segment.taps * s.from.channels, rows * v, rows + v, rows * v)
        t:crowds(n * segment.taps * s.from.channels, rows, axis.step * s.from.pitch * s.size)
        t:loops(n)
      end
    end
  end
  t:calls(times * c.rows * pieces)
  return times * c.seen / (s.p.kernel[1] * s.p.kernel[2]) * pieces
end

-- Counts what a run of column tiles stores.
local function count_stores(t, s, schedule, run)
  local c, tile = s.counts, run.tile
  local outputs = s.p.batch * s.p.groups * run.count * c.rows * c.w.outputs
  local partial = tile.last < tile.width // tile.vectors and 1 or 0
  local all = s.planes and s.planes.scratch or pixels_of(s.p, s.to.size) * s.to.all * s.size
  t:stores(outputs * (tile.vectors - partial), outputs * partial)
  t:write(outputs, tile.channels * s.size, s.to.pitch * s.size, all, schedule.stream)
end

-- Tasks, how often panels come from afar, and what passes until they do, until a run reads the input again, and the next
-- column tile: by bands in scratch, by tasks that pass through all column tiles, or by column tiles.
local function order_of(s, schedule, tiles, packed)
  local c, chunk, p = s.counts, s.from.channels * s.size, s.p
  local tasks = p.batch * p.groups * c.d.outputs * counts.blocks(s.axes[2], schedule.rows)
  local all, window, group = activations(p) + packed, c.window * c.w.read * chunk, packed / p.groups
  if s.planes then
    local scratch = s.planes.scratch
    return { tasks = tasks * s.planes.splits, panels = tasks * tiles, far = group + scratch, first = scratch, next = scratch }
  elseif schedule.across then
    return { tasks = tasks * tiles, panels = tasks * tiles, far = group + window, first = all, next = window }
  end
  local image = p.batch * c.d.once * c.h.once * c.w.once * chunk
  return { tasks = tasks * tiles * #s.axes[3], panels = p.groups * tiles, far = all, first = all, next = image }
end

-- Counts the lines of weights and input for `tiles` column tiles, whose panels of `width` are read `often` times.
local function count_lines(t, s, schedule, order, tiles, panel)
  local c, p, chunk, pitch = s.counts, s.p, s.from.channels * s.size, s.from.pitch * s.size
  counts.panels(t, { first = order.panels, all = order.often, panel = panel, far = order.far, near = schedule.pixels * chunk,
    fetched = schedule.fetch })
  counts.input(t, s, { times = p.groups, chunk = chunk, pitch = pitch, units = c.w.read, once = c.w.once, passes = tiles,
    first = order.first, next = order.next, panel = panel, fetched = schedule.across })
  local again = p.batch * p.groups * tiles * c.seen * (c.w.seen - c.w.read) -- the taps of a row
  t:read(again, { chunk = chunk, pitch = pitch, own = schedule.pixels * chunk, others = panel / s.taps })
end

local function gathering_cycles(p, s, schedule, target, m)
  local t, lanes, tiles, width, often = m.tally(), lanes_of(p, target), 0, 0, 0
  for _, run in ipairs(cut.runs_of_columns(s.to.channels, schedule.vectors, lanes)) do
    tiles, width, often = tiles + run.count, math.max(width, run.tile.width), often + count_steps(t, s, schedule, run)
    count_stores(t, s, schedule, run)
  end
  local rows, all = s.taps * s.from.channels * s.size, activations(p)
  local packed = rows * parts.round_up(s.to.channels, lanes) * p.groups
  local order = order_of(s, schedule, tiles, packed)
  order.often = often
  count_lines(t, s, schedule, order, tiles, rows * width)
  if s.planes then
    t:read(1, { chunk = all, pitch = all, own = all, others = packed })
    t:turns(p.batch * p.groups * planes.moved(s) * s.size / 16)
  end
  local copied = schedule.copies and gathering.copied_bytes(p)
  if copied then t:copy(1, { chunk = copied, pitch = copied, own = all }) end
  return counts.shared(t, p, order.tasks, packed)
end

local function gradient_cycles(p, schedule, target, m)
  local t, all, pixels, size = m.tally(), activations(p), pixels_of(p, p.output), size_of(p)
  local taps, icg, block = p.kernel[1] * p.kernel[2] * p.kernel[3], p.ic // p.groups, counts.block(p)
  local source = schedule.copies and copies.pitch(p) * size or p.ic * p.stride[3] * size
  for _, run in ipairs(cut.runs_of_columns(p.oc // p.groups, schedule.vectors, lanes_of(p, target))) do
    local n, v, bytes, pitch = p.groups * run.count, run.tile.vectors, run.tile.channels * size, p.oc * size
    for _, piece in ipairs(cut.piece_runs(icg, schedule.inputs)) do
      counts.sums(t, p, n * taps * piece.count, { rows = piece.size, vectors = v },
        { bytes = bytes, pitch = schedule.panel and bytes or pitch },
        { bytes = piece.size * size, all = icg * size, pitch = source })
    end
    local walk = { chunk = bytes, pitch = pitch, own = block * (bytes + 64), others = block * pitch }
    if schedule.panel then t:copy(n * pixels, walk) end
    t:write(n * taps * icg * pixels / block, bytes, pitch, parts.weight_bytes(p))
    t:stores(n * taps * icg * pixels / block * v)
  end
  t:read(1, { chunk = all, pitch = all, own = all, others = parts.weight_bytes(p), fetched = schedule.ahead })
  return t:cycles() / p.threads
end

---- what is worth trying ----------------------------------------------------------------------------------------------

-- Pixels of diff_dst this far apart share few sets of the nearest cache: a panel may pay.
local function spread(p) return p.oc * size_of(p) >= 1024 end

-- The weights, or their gradient, are larger than what the caches near the processor hold: fetching them early may pay.
local function far(p, m) return parts.weight_bytes(p) > 4 * m.l2 end

-- Activations come from memory, each for one tap only: the order of the loops and fetching early may pay.
local function beyond(bytes, m) return m.line(bytes) > m.rates.l3 end
local function thin(p, m) return p.kernel[1] * p.kernel[2] * p.kernel[3] == 1 and beyond(activations(p), m) end

-- Channels in the lanes, of a group.
local function lane_channels(p) return (p.pass == "backward_data" and p.ic or p.oc) // p.groups end

-- The registers beside the accumulators: one row of the panel, the broadcast, and a mask for ragged channels where masks take
-- vector registers. (A broadcast inside the fma would save that one register but loads v times as often.)
local function other_registers(p, target, v)
  local ragged = lane_channels(p) % lanes_of(p, target) ~= 0
  return v + 1 + (ragged and not target.mask_registers and 1 or 0)
end

local function most_rows(p, target, v) return math.min((target.registers - other_registers(p, target, v)) // v, 28) end

local function refused(p)
  if p.pass == "backward_weights" then return p.layout ~= "nhwc" and "direct's backward weights need channels-last data" or nil end
  local s = gathering.shape(p)
  local phases = #s.axes[1] * #s.axes[2] * #s.axes[3]
  if phases > most_parts then return ("needs %d phases, at most %d"):format(phases, most_parts) end
end

-- Why this schedule cannot be, or nil.
local function misfit(p, shape, schedule, target)
  local v = schedule.vectors
  local m = schedule.inputs or schedule.pixels
  local most = most_rows(p, target, v)
  if m > most then
    return ("needs %d registers, %s has %d"):format(m * v + other_registers(p, target, v), target.name, target.registers)
  end
  if schedule.inputs then
    if schedule.across or schedule.stream then return "is for the other passes" end
    return schedule.copies and select(2, gradient.copied_bytes(p)) or nil
  end
  if schedule.copies then
    local bytes, why = gathering.copied_bytes(p)
    if not bytes then return why end
  end
  local s = shape(schedule.copies)
  if schedule.ahead or schedule.stream and not schedule.across or schedule.across and s.planes then
    return "ahead is for backward weights, stream for across, across for pixels that are read where they are"
  end
  if (schedule.splits ~= nil) ~= (p.layout == "nchw") then return "is for the other layout" end
  if s.planes then
    local tiles = gathering.columns(s, schedule, target)
    planes.plan(s, schedule, tiles[1].width)
    if schedule.splits > #tiles then return ("has %d column tiles, fewer than its shares"):format(#tiles) end
    if s.planes.scratch > planes.most_scratch then
      return ("needs %.1f MB of scratch a thread, at most %d"):format(s.planes.scratch / 2.0 ^ 20, planes.most_scratch >> 20)
    end
  end
  local variants = 0
  gathering.each_phase(s, function(axes)
    if gathering.empty(axes) then return end
    local _, list = s.rows_of(axes[3], schedule.pixels)
    variants = variants + #list
  end)
  if variants > most_variants then return ("needs %d border variants, at most %d"):format(variants, most_variants) end
end

-- All ways to set marks of a list: tables with each of them or without.
local function ways(marks)
  local list = { {} }
  for _, mark in ipairs(marks) do
    for i = 1, #list do
      local with = { [mark] = true }
      for other in pairs(list[i]) do with[other] = true end
      list[#list + 1] = with
    end
  end
  return list
end

-- Calls visit(vectors, size) for tiles that fill the registers, or half of them, size along the rows.
local function each_tile(p, target, channels, visit)
  for v = 1, math.min(4, (channels + lanes_of(p, target) - 1) // lanes_of(p, target)) do
    local most = most_rows(p, target, v)
    if most >= 1 then visit(v, most) end
    if most >= 2 then visit(v, most // 2) end
  end
end

local function gradient_candidates(p, target, m, add)
  local marks = {}
  if p.stride[1] * p.stride[2] * p.stride[3] > 1 and gradient.copied_bytes(p) then marks[1] = "copies" end
  if spread(p) then marks[#marks + 1] = "panel" end
  if far(p, m) then marks[#marks + 1] = "fetch" end
  if thin(p, m) then marks[#marks + 1] = "ahead" end
  each_tile(p, target, p.oc // p.groups, function(v, most)
    for _, way in ipairs(ways(marks)) do
      way.inputs, way.vectors = cut.even_size(p.ic // p.groups, most), v
      add(way)
    end
  end)
end

-- Of channels-first data: bands of some sizes, whole or shared among threads.
local function band_candidates(p, s, target, m, add)
  local lanes = lanes_of(p, target)
  each_tile(p, target, s.to.channels, function(v, most)
    local pixels, tiles = cut.even_size(s.axes[3][1].outputs, most), (s.to.channels + v * lanes - 1) // (v * lanes)
    planes.each_size(s, v * lanes, function(rows)
      for _, splits in ipairs { 1, p.threads > 1 and tiles >= p.threads and p.threads or nil } do
        add { pixels = pixels, vectors = v, rows = rows, splits = splits, fetch = far(p, m) }
      end
    end)
  end)
end

-- Each row of output pixels through all column tiles or the other way round, streamed or not.
local function row_candidates(p, s, target, m, add)
  local row, output = s.axes[3][1].outputs * s.from.channels * s.size, pixels_of(s.p, s.to.size) * s.to.all * s.size
  each_tile(p, target, s.to.channels, function(v, most)
    local pixels = cut.even_size(s.axes[3][1].outputs, most)
    for _, rows in ipairs { 1, 4, 16 } do
      local across = thin(p, m) and rows * row <= m.l2 // 2
      for _, mark in ipairs { "", across and "across" or nil, across and beyond(output, m) and "stream" or nil } do
        if rows == 1 or rows <= s.axes[2][1].outputs * 2 then
          add { pixels = pixels, vectors = v, rows = rows, fetch = far(p, m), across = mark ~= "" or nil,
            stream = mark == "stream" or nil }
        end
      end
    end
  end)
end

local function candidates(p, shape, target, m)
  local list, seen = {}, {}
  local function add(schedule)
    schedule.family = "direct"
    local name = direct.print(schedule)
    if not seen[name] then list[#list + 1] = schedule end
    seen[name] = true
  end
  if p.pass == "backward_weights" then gradient_candidates(p, target, m, add); return list end
  for _, copied in ipairs { false, gathering.copied_bytes(p) and true or nil } do
    local s = shape(copied);
    (s.planes and band_candidates or row_candidates)(p, s, target, m, function(schedule)
      schedule.copies = copied
      add(schedule)
    end)
  end
  return list
end

-- Adds to `list` every schedule with its estimate in cycles or the reason why not; one entry without a schedule when the family does not
-- apply.
function direct.schedules(p, target, machine, list)
  local why = refused(p)
  if why then list[1] = { why = why, name = "direct" }; return end
  local m, shape = cost.machine(machine, target), shapes(p)
  for _, schedule in ipairs(candidates(p, shape, target, m)) do
    local cannot = misfit(p, shape, schedule, target)
    local cycles = not cannot and
      (schedule.inputs and gradient_cycles(p, schedule, target, m) or gathering_cycles(p, shape(schedule.copies), schedule, target, m)) or 0
    list[#list + 1] = { schedule = schedule, cycles = cycles, why = cannot }
  end
end

-- For readers of emitted C.
function direct.explain(p, s, target)
  if s.inputs then
    return { ("tiles of %d input channels x %d vectors of output channels, lane by lane; sums over blocks of output pixels"):format(s.inputs,
      s.vectors) }
  end
  local lines = { ("tiles of at most %d pixels of a row x %d vectors of %d channels stay in registers through all taps;"):format(s.pixels,
    s.vectors, lanes_of(p, target)) }
  if s.copies then lines[#lines + 1] = "the input pixels that the stride leaves are moved together first;" end
  if s.across then lines[#lines + 1] = "the next rows are fetched while all output channels of these are computed;" end
  if s.stream then lines[#lines + 1] = "the output is written past the caches;" end
  if s.fetch then lines[#lines + 1] = "the panel of weights comes from far and is fetched early;" end
  local length = gathering.shape(p, s.copies).p.output[3]
  if length ~= p.output[3] then lines[#lines + 1] = ("pixels that lie one behind the other are taken as rows of %d;"):format(length) end
  lines[#lines + 1] = s.splits and ("a task lays out what a band of %d rows needs as pixels, and its outputs as planes"):format(s.rows) or
    ("a task is %s of the output for a panel of weights, which stays in the caches through it"):format(
      s.rows == 1 and "a row" or ("%d rows"):format(s.rows))
  return lines
end

function direct.stages(p, schedule, target)
  local by_inputs = p.pass == "backward_weights"
  if by_inputs ~= (schedule.inputs ~= nil) then return nil, direct.print(schedule) .. " is not a schedule of this pass" end
  local why = refused(p) or misfit(p, shapes(p), schedule, target)
  if why then return nil, why end
  local result = (by_inputs and gradient or gathering).stages(p, schedule, target)
  for _, kernel in ipairs(result.kernels) do
    local map, cannot = registers.allocate(kernel, target)
    if not map then return nil, cannot end
  end
  return result
end

return direct
