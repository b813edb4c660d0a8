-- direct.lua: the outer-product kernel, acc[m][v] += broadcast(A[m]) * B[v], channels in the lanes: channels-last data, and
-- channels-first data that a task lays out.
--
-- Forward and backward data are in direct_gather.lua, backward weights in direct_gradient.lua; here are the names of schedules,
-- the space and its estimate. The canonical order holds: taps, then channels; for backward weights blocks of output pixels.
local names = require "names"
local parts = require "parts"
local reduce = require "reduce"
local registers = require "registers"
local cut = require "tiles"
local cost = require "cost"
local copies = require "families/direct_copies"
local gathering = require "families/direct_gather"
local planes = require "families/direct_planes"
local gradient = require "families/direct_gradient"

local direct = { name = "direct", version = 4, chains = 1 }

local most_variants, most_parts = 12, 16

---- schedules: [gather/][planes.s2/]direct.p7.v4.rows4 and [gather/][panel/]direct.i8.v2 -----------------------------------------
-- Forward and backward data: pixels and vectors of a tile, rows of a task. `gather` moves the pixels of a strided 1x1 together; `planes`
-- lays out channels-first data, for shares of the column tiles; `panel` moves the output channels of a tile of backward weights together.
-- .fetch fetches early what comes from far: the weights' panel, the gradient's lines. For activations in memory: .across takes a task's
-- pixels through all column tiles and fetches the next ones meanwhile, .stream writes past the caches, .ahead fetches what the next tile
-- sums.

names.family("direct", {
  { { "gather", when = "copies" }, { "planes", fields = { { "s", "splits" } }, when = "splits" },
    { "direct", fields = { { "p", "pixels" }, { "v", "vectors" }, { "rows", "rows" } }, marks = { "fetch", "across", "stream" } } },
  { { "gather", when = "copies" }, { "panel", when = "panel" },
    { "direct", fields = { { "i", "inputs" }, { "v", "vectors" } }, marks = { "fetch", "ahead" } } },
})

---- the estimate ------------------------------------------------------------------------------------------------------------------

local size_of, pixels_of, activations, weights_of = parts.size_of, parts.pixels, parts.activation_bytes, parts.weight_bytes

-- A shape, what its axes count, and the runs of a row for each number of pixels; all are made once.
local function shapes(p)
  local known = {}
  return function(copied)
    local s = known[copied or false]
    if s then return s end
    s = gathering.shape(p, copied)
    local rows = {}
    function s.rows_of(axis, pixels)
      rows[axis] = rows[axis] or {}
      rows[axis][pixels] = rows[axis][pixels] or table.pack(cut.row_runs(axis, pixels, gathering.contiguous(s, axis)))
      return table.unpack(rows[axis][pixels])
    end
    s.counts = { cut.counts(s.axes[1]), cut.counts(s.axes[2]), cut.counts(s.axes[3]) }
    known[copied or false] = s
    return s
  end
end

-- Counts the steps of all rows for a run of column tiles; answers the pieces of a row.
local function count_steps(t, s, schedule, run)
  local d, h = s.counts[1], s.counts[2]
  local v, pieces, times = run.tile.vectors, 0, s.p.batch * s.p.groups * run.count
  for _, axis in ipairs(s.axes[3]) do
    for _, row in ipairs(axis.taps > 0 and s.rows_of(axis, schedule.pixels) or {}) do
      pieces = pieces + row.count
      for _, segment in ipairs(row.variant.segments) do
        local rows, n = segment.last - segment.first + 1, times * d.seen * h.seen * row.count
        t:steps(n * segment.taps * s.from.channels, rows * v, rows + v, rows * v)
        t:crowds(n * segment.taps * s.from.channels, rows, axis.step * s.from.pitch * s.size)
        t:loops(n)
      end
    end
  end
  t:calls(times * d.outputs * h.outputs * pieces)
  return pieces
end

-- Between which uses of the same data which bytes pass, and how often all panels come from afar: once in a run; where a task
-- passes through all column tiles, once in each.
local function passing(s, schedule, tiles, panel, packed)
  local d, h, w = table.unpack(s.counts)
  local images, all = s.p.batch * s.p.groups, activations(s.p) + packed
  local input, blocks = d.once * h.once * w.once * s.from.channels * s.size, 0
  for _, axis in ipairs(s.axes[2]) do blocks = blocks + (axis.outputs + schedule.rows - 1) // schedule.rows end
  local tasks = images * d.outputs * blocks
  local group, window = packed / s.p.groups, h.seen / h.outputs * w.read * s.from.channels * s.size
  if s.planes then
    local scratch = s.planes.scratch
    return { tasks = tasks * s.planes.splits, panels = tasks * tiles, panel = group + scratch, first = scratch, next = scratch, window = window }
  elseif schedule.across then
    return { tasks = tasks * tiles, panels = tasks * tiles, panel = group + window, first = all, next = window + panel, window = window }
  end
  return { tasks = tasks * tiles * #s.axes[3], panels = s.p.groups * tiles, panel = all, first = all, next = s.p.batch * input + panel, window = window }
end

-- Counts the lines of the panels, how often each is read, and of the output of all column tiles.
local function count_tile(t, s, schedule, run, pieces)
  local d, h, w = table.unpack(s.counts)
  local p, tile, lanes = s.p, run.tile, run.tile.width // run.tile.vectors
  local times, channels = p.batch * p.groups * run.count, (tile.vectors - 1) * lanes + tile.last
  local outputs, partial = times * d.outputs * h.outputs * w.outputs, tile.last < lanes and 1 or 0
  t:stores(outputs * (tile.vectors - partial), outputs * partial)
  t:write(outputs, channels * s.size, s.to.pitch * s.size, s.planes and s.planes.scratch or pixels_of(p, s.to.size) * s.to.all * s.size,
    schedule.stream)
  return times * d.seen * h.seen / (p.kernel[1] * p.kernel[2]) * pieces
end

-- Counts the lines of the input that `tiles` column tiles of all groups read: once each, again for the next tile, for the next row of the
-- kernel, for the next tap of a row. 
local function count_input(t, s, schedule, tiles, panel, passes)
  local d, h, w = table.unpack(s.counts)
  local chunk, pitch, images = s.from.channels * s.size, s.from.pitch * s.size, s.p.batch * s.p.groups
  local once, all = d.once * h.once * w.once, tiles * d.read * h.read * w.read
  local function read(n, own, others, fetched)
    t:read(images * n, { chunk = chunk, pitch = pitch, own = own, others = others, fetched = fetched })
  end
  read(once, once * chunk, passes.first, schedule.across)
  read(all - once, passes.next - panel, panel)
  read(tiles * (d.seen * h.seen - d.read * h.read) * w.read, passes.window, panel)
  read(tiles * d.seen * h.seen * (w.seen - w.read), schedule.pixels * chunk, panel / s.taps)
end

local function gathering_cycles(p, s, schedule, target, m)
  local t, tiles, lanes, width, often = m.tally(), 0, parts.lanes_of(p, target), 0, 0
  local packed = s.taps * s.from.channels * parts.round_up(s.to.channels, lanes) * p.groups * s.size
  for _, run in ipairs(cut.runs_of_columns(s.to.channels, schedule.vectors, lanes)) do
    tiles, width = tiles + run.count, math.max(width, run.tile.width)
    often = often + count_tile(t, s, schedule, run, count_steps(t, s, schedule, run))
  end
  local panel = s.taps * s.from.channels * width * s.size
  local passes = passing(s, schedule, tiles, panel, packed)
  t:tasks(passes.tasks)
  local function read(n, own, others) t:read(n, { chunk = panel, pitch = panel, own = own, others = others, fetched = schedule.fetch }) end
  read(passes.panels, passes.panel)
  read(math.max(often - passes.panels, 0), panel, schedule.pixels * s.from.channels * s.size)
  count_input(t, s, schedule, tiles, panel, passes)
  if s.planes then
    t:read(1, { chunk = activations(p), pitch = activations(p), own = activations(p), others = packed })
    t:turns(p.batch * p.groups * planes.moved(s) * s.size / 16)
  end
  local cycles = t:cycles() * ((passes.tasks + p.threads - 1) // p.threads) / passes.tasks
  if schedule.copies then cycles = cycles + gathering.copied_bytes(p) / 64 * (2 + m.line(activations(p))) / p.threads end
  if p.weights == "changing" then cycles = cycles + m.pack(weights_of(p), packed) / p.threads end
  return cycles
end

-- Pixels of diff_dst this far apart share few sets of the nearest cache: a panel may pay.
local function spread(p) return p.oc * size_of(p) >= 1024 end

-- The weights, or their gradient, are larger than what the caches near the processor hold: fetching them early may pay.
local function far(p, m) return weights_of(p) > 4 * m.l2 end

-- Activations come from memory, each for one tap only: the order of the loops and fetching early may pay.
local function beyond(bytes, m) return m.line(bytes) > m.rates.l3 end
local function thin(p, m) return p.kernel[1] * p.kernel[2] * p.kernel[3] == 1 and beyond(activations(p), m) end

-- Counts what a run of column tiles does for all blocks of pixels; pieces: of the input channels.
local function count_gradient(t, p, schedule, run, pieces, rows, block)
  local size, lanes = size_of(p), run.tile.width // run.tile.vectors
  local taps, pixels = p.kernel[1] * p.kernel[2] * p.kernel[3], pixels_of(p, p.output)
  local v, times, calls = run.tile.vectors, p.groups * run.count, 0
  for _, piece in ipairs(pieces) do
    t:steps(times * taps * piece.count * pixels, piece.size * v, piece.size + v, piece.size * v)
    calls = calls + piece.count
  end
  t:calls(times * taps * calls * pixels / block)
  t:loops(times * taps * calls * pixels / block * rows)
  local chunk, held, source = ((v - 1) * lanes + run.tile.last) * size, block * 64, schedule.inputs * size
  local sum = { chunk = chunk, pitch = schedule.panel and chunk or p.oc * size, own = block * (chunk + 64), others = held }
  t:read(times * pixels * (taps * calls - 1), sum)
  if schedule.panel then
    t:copy(times * pixels, { chunk = chunk, pitch = p.oc * size, own = block * (chunk + 64), others = block * p.oc * size })
  end
  local pitch, all = schedule.copies and copies.pitch(p) * size or p.ic * p.stride[3] * size, p.ic // p.groups * size
  t:read(times * taps * pixels, { chunk = all, pitch = pitch, own = block * all, others = block * chunk })
  t:read(times * taps * pixels * math.max(calls - all / 64, 0), { chunk = source, pitch = pitch, own = held, others = block * chunk })
  t:write(times * taps * (p.ic // p.groups) * pixels / block, chunk, p.oc * size, weights_of(p))
  t:stores(times * taps * (p.ic // p.groups) * pixels / block * v)
end

local function gradient_cycles(p, schedule, target, m)
  local lanes, t, all = parts.lanes_of(p, target), m.tally(), activations(p)
  local rows = math.min(reduce.block_rows(p.output[3]), p.output[2])
  local block = rows * math.min(p.output[3], reduce.block)
  local pieces = cut.piece_runs(p.ic // p.groups, schedule.inputs)
  for _, run in ipairs(cut.runs_of_columns(p.oc // p.groups, schedule.vectors, lanes)) do
    count_gradient(t, p, schedule, run, pieces, rows, block)
  end
  t:read(1, { chunk = all, pitch = all, own = all, others = weights_of(p), fetched = schedule.ahead })
  return t:cycles() / p.threads
end

---- the space -------

-- Channels in the lanes, of a group.
local function lane_channels(p) return (p.pass == "backward_data" and p.ic or p.oc) // p.groups end

local lanes_of = parts.lanes_of

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
      return parts.too_much_scratch(s.planes.scratch, planes.most_scratch)
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

local function candidates(p, shape, target, m)
  local lanes = lanes_of(p, target)
  local list, seen = {}, {}
  local function add(schedule)
    schedule.family = "direct"
    local name = names.print(schedule)
    if not seen[name] then
      seen[name] = true
      list[#list + 1] = schedule
    end
  end
  if p.pass == "backward_weights" then
    local icg, ocg = p.ic // p.groups, p.oc // p.groups
    local strided = p.stride[1] * p.stride[2] * p.stride[3] > 1 and gradient.copied_bytes(p)
    local function either(may) return may and { false, true } or { false } end
    for v = 1, math.min(4, (ocg + lanes - 1) // lanes) do
      local most = most_rows(p, target, v)
      for _, most in ipairs { most, most // 2 } do
        for _, copies in ipairs(either(most >= 1 and strided)) do
          for _, panel in ipairs(either(spread(p))) do
            for _, fetch in ipairs(either(far(p, m))) do
              for _, ahead in ipairs(either(thin(p, m))) do
                local inputs = most >= 1 and cut.even_size(icg, most)
                if most >= 1 then add { inputs = inputs, vectors = v, copies = copies, panel = panel, fetch = fetch, ahead = ahead } end
              end
            end
          end
        end
      end
    end
    return list
  end
  local fetch = far(p, m)
  -- Each row of output pixels through all column tiles or the other way round, streamed or not.
  local function ways(s, rows)
    local list, row = { {} }, s.axes[3][1].outputs * s.from.channels * s.size
    if thin(p, m) and rows * row <= m.l2 // 2 then
      list[2] = { across = true }
      if beyond(pixels_of(s.p, s.to.size) * s.to.all * s.size, m) then list[3] = { across = true, stream = true } end
    end
    return list
  end
  for _, copies in ipairs(gathering.copied_bytes(p) and { false, true } or { false }) do
    local s = shape(copies)
    local vectors = math.min(4, (s.to.channels + lanes - 1) // lanes)
    local outputs = s.axes[3][1].outputs
    for v = 1, vectors do
      local most = most_rows(p, target, v)
      for _, most in ipairs { most, most // 2 } do
        if most >= 1 then
          local pixels = cut.even_size(outputs, most)
          if s.planes then
            planes.each_size(s, v * lanes, function(rows)
              add { pixels = pixels, vectors = v, rows = rows, splits = 1, fetch = fetch }
              if p.threads > 1 and (s.to.channels + v * lanes - 1) // (v * lanes) >= p.threads then
                add { pixels = pixels, vectors = v, rows = rows, splits = p.threads, fetch = fetch }
              end
            end)
          else
            for _, rows in ipairs { 1, 4, 16 } do
              if rows == 1 or rows <= s.axes[2][1].outputs * 2 then
                for _, way in ipairs(ways(s, rows)) do
                  add { pixels = pixels, vectors = v, rows = rows, copies = copies, fetch = fetch, across = way.across, stream = way.stream }
                end
              end
            end
          end
        end
      end
    end
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
  if by_inputs ~= (schedule.inputs ~= nil) then return nil, names.print(schedule) .. " is not a schedule of this pass" end
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
