-- direct.lua: the outer-product kernel, acc[m][v] += broadcast(A[m]) * B[v], channels in the lanes: channels-last data, and
-- channels-first data that a task lays out.
--
-- Forward and backward data are in direct_gather.lua, backward weights in direct_gradient.lua; here are the names of schedules,
-- the space and its estimate. The canonical order holds: taps, then channels; for backward weights blocks of output pixels.
local names = require "names"
local parts = require "parts"
local registers = require "registers"
local cut = require "tiles"
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

---- the space and its estimate ---------------------------------------------------------------------------------------------------------

local function size_of(p) return p.type == "f32" and 4 or 8 end

local function pixels_of(p, axes) return p.batch * axes[1] * axes[2] * axes[3] end

-- Bytes of both activations.
local function activations(p) return (pixels_of(p, p.input) * p.ic + pixels_of(p, p.output) * p.oc) * size_of(p) end

-- What one core may count on of the last cache ends at some ten times the second one.
local function beyond(bytes, machine) return bytes > 10 * parts.l2(machine) end

-- They come from memory, each for one tap only: the order of the loops and fetching early may pay.
local function thin(p, machine) return p.kernel[1] * p.kernel[2] * p.kernel[3] == 1 and beyond(activations(p), machine) end

-- Cycles that the fma units wait for so many bytes of activations: memory gives a line in 14, a quarter of which they hide.
local function memory_cycles(p, bytes, machine)
  return bytes / 64 * 10.5 * math.max(0, math.min((activations(p) / parts.l2(machine) - 10) / 12, 1))
end

-- Cycles of one step of the outer product: fma slots, load slots, and the four cycles that an accumulator waits.
local function step_cycles(m, v) return math.max(m * v / 2, (v + m) / 2, 4) end

-- Channels-first data: tasks lay out their rows (parts of 4 elements, 16 of them in 30 cycles), and each passes by all the weights.
local function plane_cycles(s, cycles, tiles, machine)
  local p, weights = s.p, s.taps * s.from.channels * s.to.channels * s.size
  local bands = 0
  for _, band in ipairs(s.planes.bands) do bands = bands + band.count end
  local far = weights + s.planes.scratch > parts.l2(machine)
  local passes, depth = p.groups * p.batch * bands, 0
  for _, axis in ipairs(s.axes[1]) do depth = depth + axis.outputs end
  local reading = passes * depth * weights / 64 * (far and 5.3 or 1)
  local moving = p.groups * p.batch * planes.moved(s) * s.size / 4 * 30 / 64
  return math.max(cycles, reading) + (far and 0.06 * reading or 0) + moving, passes * depth * s.planes.splits
end

-- Bytes of activations that pass more than once: column tile by column tile the input is read again; what is not streamed is read
-- before it is written. (What must pass once is in no family's estimate.)
local function passing_again(s, schedule, tiles)
  local from, to = s.from, s.to
  local outputs, inputs = pixels_of(s.p, to.size), pixels_of(s.p, from.size)
  if s.taps == 1 then inputs = math.min(inputs, outputs) end
  return ((schedule.across and 0 or #tiles - 1) * inputs * from.all + (schedule.stream and 0 or 1) * outputs * to.all) * s.size
end

local function gathering_cycles(p, schedule, target, machine)
  local s = gathering.shape(p, schedule.copies)
  local size = s.size
  local lanes = target.bits // 8 // size
  local cycles, tasks = 0, 0
  local tiles = gathering.columns(s, schedule, target)
  for _, run in ipairs(cut.column_runs(tiles)) do
    gathering.each_phase(s, function(axes)
      if gathering.empty(axes) then
        cycles = cycles + run.count * run.tile.vectors * p.groups * p.batch * axes[1].outputs * axes[2].outputs * axes[3].outputs * 2
        return
      end
      local row = 0
      for _, part in ipairs((cut.row_runs(axes[3], schedule.pixels, false))) do
        local steps = 20
        for _, seg in ipairs(part.variant.segments) do
          local m = seg.last - seg.first + 1
          steps = steps + axes[1].taps * axes[2].taps * (s.from.channels * step_cycles(m, run.tile.vectors) + 2)
        end
        row = row + part.count * steps
      end
      local planes = run.count * p.groups * s.p.batch * axes[1].outputs
      cycles = cycles + planes * axes[2].outputs * row
      tasks = tasks + planes * ((axes[2].outputs + schedule.rows - 1) // schedule.rows)
    end)
  end
  local panel = s.taps * s.from.channels * tiles[1].width * size
  local packed = panel * #tiles
  if panel > 0.6 * parts.l2(machine) then cycles = cycles * 1.15 end
  if schedule.across and packed > parts.l2(machine) // 2 then -- all weights pass for each task's pixels
    cycles = cycles + packed / 64 * 2.7 * tasks / #tiles
  end
  if not s.planes then cycles = cycles + memory_cycles(p, passing_again(s, schedule, tiles), machine) end
  if s.planes then
    planes.plan(s, schedule, tiles[1].width)
    cycles, tasks = plane_cycles(s, cycles, tiles, machine)
  end
  -- Fewer rows a task read the panel again more often; too few tasks leave threads idle.
  cycles = cycles * (1 + 0.02 / schedule.rows) * ((tasks + p.threads - 1) // p.threads) / tasks
  if schedule.copies then cycles = cycles + gathering.copied_bytes(p) / 16 / p.threads
  elseif gathering.copied_bytes(p) then cycles = cycles * 1.02 end -- pixels far apart share few sets of the caches
  if p.weights == "changing" then cycles = cycles + parts.pack_cycles(s.taps * s.from.channels * s.to.channels * p.groups * size,
    s.taps * s.from.channels * ((s.to.channels + lanes - 1) // lanes * lanes) * p.groups * size, machine) / p.threads end
  return cycles
end

-- Pixels of diff_dst this far apart share few sets of the nearest cache: a panel may pay.
local function spread(p) return p.oc * size_of(p) >= 1024 end

-- The weights, or their gradient, are larger than what the caches near the processor hold: fetching them early may pay.
local function far(p, machine)
  return p.kernel[1] * p.kernel[2] * p.kernel[3] * (p.ic // p.groups) * p.oc * size_of(p) > 4 * parts.l2(machine)
end

local function gradient_cycles(p, schedule, target, machine)
  local lanes = target.bits // 8 // size_of(p)
  local taps, pixels = p.kernel[1] * p.kernel[2] * p.kernel[3], p.batch * p.output[1] * p.output[2] * p.output[3]
  local cycles = 0
  for _, run in ipairs(cut.column_runs(cut.columns(p.oc // p.groups, schedule.vectors, lanes))) do
    for _, inputs in ipairs(cut.piece_runs(p.ic // p.groups, schedule.inputs)) do
      local calls = run.count * inputs.count
      cycles = cycles + p.groups * taps * calls * pixels * step_cycles(inputs.size, run.tile.vectors)
    end
    if schedule.panel then cycles = cycles + p.groups * run.count * pixels * run.tile.vectors end
  end
  if not schedule.ahead then cycles = cycles + memory_cycles(p, activations(p), machine) / 2 end
  -- Pixels far apart share few sets of the caches.
  if p.stride[3] > 1 and not schedule.copies then cycles = cycles * 1.05 end
  if spread(p) and not schedule.panel then cycles = cycles * 1.02 end
  if far(p, machine) and not schedule.fetch then cycles = cycles * 1.2 end
  return cycles
end

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
local function misfit(p, schedule, target)
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
  local s = gathering.shape(p, schedule.copies)
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
    local _, list = cut.row_runs(axes[3], schedule.pixels, gathering.contiguous(s, axes[3]))
    variants = variants + #list
  end)
  if variants > most_variants then return ("needs %d border variants, at most %d"):format(variants, most_variants) end
end

local function candidates(p, target, machine)
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
      for _, m in ipairs { most, most // 2 } do
        for _, copies in ipairs(either(m >= 1 and strided)) do
          for _, panel in ipairs(either(spread(p))) do
            for _, fetch in ipairs(either(far(p, machine))) do
              for _, ahead in ipairs(either(thin(p, machine))) do
                local inputs = m >= 1 and cut.even_size(icg, m)
                if m >= 1 then add { inputs = inputs, vectors = v, copies = copies, panel = panel, fetch = fetch, ahead = ahead } end
              end
            end
          end
        end
      end
    end
    return list
  end
  local fetch = far(p, machine)
  -- Each row of output pixels through all column tiles or the other way round, streamed or not.
  local function ways(s, rows)
    local list, row = { {} }, s.axes[3][1].outputs * s.from.channels * s.size
    if thin(p, machine) and rows * row <= parts.l2(machine) // 2 then
      list[2] = { across = true }
      if beyond(pixels_of(s.p, s.to.size) * s.to.all * s.size, machine) then list[3] = { across = true, stream = true } end
    end
    return list
  end
  for _, copies in ipairs(gathering.copied_bytes(p) and { false, true } or { false }) do
    local s = gathering.shape(p, copies)
    local vectors = math.min(4, (s.to.channels + lanes - 1) // lanes)
    local outputs = s.axes[3][1].outputs
    for v = 1, vectors do
      local most = most_rows(p, target, v)
      for _, m in ipairs { most, most // 2 } do
        if m >= 1 then
          local pixels = cut.even_size(outputs, m)
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
  for _, schedule in ipairs(candidates(p, target, machine)) do
    local cannot = misfit(p, schedule, target)
    local cycles = not cannot and
      (schedule.inputs and gradient_cycles(p, schedule, target, machine) or gathering_cycles(p, schedule, target, machine)) or 0
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
  local why = refused(p) or misfit(p, schedule, target)
  if why then return nil, why end
  local result = (by_inputs and gradient or gathering).stages(p, schedule, target)
  for _, kernel in ipairs(result.kernels) do
    local map, cannot = registers.allocate(kernel, target)
    if not map then return nil, cannot end
  end
  return result
end

return direct
