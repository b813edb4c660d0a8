-- direct.lua: the outer-product kernel, acc[m][v] += broadcast(A[m]) * B[v], channels in the lanes: channels-last data,
-- and channels-first data that a task lays out.
--
-- Forward and backward data are in direct_gather.lua, backward weights in direct_gradient.lua, the estimates in
-- direct_cost.lua; here are the names of schedules and which are worth trying. The canonical order holds: taps, then
-- channels; for backward weights blocks of output pixels.
local names = require "names"
local parts = require "parts"
local registers = require "registers"
local cut = require "tiles"
local cost = require "cost"
local counts = require "counts"
local estimate = require "families/direct_cost"
local gathering = require "families/direct_gather"
local gathered = require "rewrite/gather"
local planes = require "rewrite/planes"
local gradient = require "families/direct_gradient"

local direct = { name = "direct", chains = 1 }

local most_variants, most_parts = 12, 16

---- schedules: [gather/][planes.s2/]direct.p7.v4.rows4 and [gather/][panel/]direct.i8.v2 ------------------------------
-- Forward and backward data: pixels and vectors of a tile, rows of a task. `gather` moves the pixels of a strided 1x1
-- together; `planes` lays out channels-first data, for shares of the column tiles; `panel` moves the output channels of
-- a tile of backward weights together. .fetch fetches early what comes from far: the weights' panel, the gradient's
-- lines. For activations in memory: .across takes a task's pixels through all column tiles and fetches the next ones
-- meanwhile, .stream writes past the caches, .ahead fetches what the next tile sums.

names.family("direct", {
  { gathered.node, planes.node, { "direct", fields = { { "p", "pixels" }, { "v", "vectors" }, { "rows", "rows" } },
    marks = { "fetch", "across", "stream" } } },
  { gathered.node, { "panel", when = "panel" }, { "direct", fields = { { "i", "inputs" }, { "v", "vectors" } },
    marks = { "fetch", "ahead" } } },
})

---- what can be -------------------------------------------------------------------------------------------------------

local lanes_of, pixels_of = parts.lanes_of, parts.pixels

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

-- The registers beside the accumulators: one row of the panel, the broadcast, and a mask for ragged channels where
-- masks take vector registers. (A broadcast inside the fma would save that one register but loads v times as often.)
local function other_registers(p, target, v)
  local ragged = (p.pass == "backward_data" and p.ic or p.oc) // p.groups % lanes_of(p, target) ~= 0
  return v + 1 + (ragged and not target.mask_registers and 1 or 0)
end

local function most_rows(p, target, v) return math.min((target.registers - other_registers(p, target, v)) // v, 28) end

local function refused(p)
  if p.pass == "backward_weights" then
    return p.layout ~= "nhwc" and "direct's backward weights need channels-last data" or nil
  end
  local s = gathering.shape(p)
  local phases = #s.axes[1] * #s.axes[2] * #s.axes[3]
  if phases > most_parts then return ("needs %d phases, at most %d"):format(phases, most_parts) end
end

-- Why a schedule of channels-first data cannot be, or nil. Completes the shape for it.
local function bands_misfit(s, schedule, target)
  local tiles = gathering.columns(s, schedule, target)
  planes.plan(s, schedule, tiles[1].tile.width)
  if schedule.across then return "across is for pixels that are read where they are" end
  if schedule.splits > tiles.all then return ("has %d column tiles, fewer than its shares"):format(tiles.all) end
  if s.planes.scratch > planes.most_scratch then
    return parts.too_much_scratch(s.planes.scratch, planes.most_scratch)
  end
end

local function variants_misfit(s, schedule)
  local variants = 0
  gathering.each_phase(s, function(axes)
    if gathering.empty(axes) then return end
    local sure = cut.border_tiles(axes[3], schedule.pixels)
    variants = variants + (sure > most_variants and sure or #select(2, s.rows_of(axes[3], schedule.pixels)))
  end)
  if variants > most_variants then return ("needs %d border variants, at most %d"):format(variants, most_variants) end
end

-- Why this schedule cannot be, or nil.
local function misfit(p, shape, schedule, target)
  local v, rows = schedule.vectors, schedule.inputs or schedule.pixels
  if rows > most_rows(p, target, v) then
    local needed = rows * v + other_registers(p, target, v)
    return ("needs %d registers, %s has %d"):format(needed, target.name, target.registers)
  end
  local bytes, why = (schedule.inputs and gradient or gathering).copied_bytes(p)
  if schedule.copies and not bytes then return why end
  if schedule.inputs then return end
  if (schedule.splits ~= nil) ~= (p.layout == "nchw") then return "is for the other layout" end
  if schedule.stream and not schedule.across then return "stream is for across" end
  local s = shape(schedule.copies)
  return s.planes and bands_misfit(s, schedule, target) or variants_misfit(s, schedule)
end

---- what is worth trying ----------------------------------------------------------------------------------------------

-- Pixels of diff_dst this far apart share few sets of the nearest cache: a panel may pay.
local function spread(p) return p.oc * parts.size_of(p) >= 1024 end

-- The weights, or their gradient, are larger than what the caches near the processor hold: fetching them early may pay.
local function far(p, m) return parts.weight_bytes(p) > 4 * m.l2 end

-- Activations come from memory, each for one tap only: the order of the loops and fetching early may pay.
local function beyond(bytes, m) return m.line(bytes) > m.rates.l3 end
local function thin(p, m) return math.max(table.unpack(p.kernel)) == 1 and beyond(parts.activation_bytes(p), m) end

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
    local name = names.print(schedule)
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

-- Adds to `list` every schedule with its estimate in cycles or the reason why not; one entry without a schedule when
-- the family does not apply.
function direct.schedules(p, target, machine, list)
  local why = refused(p)
  if why then list[1] = { why = why, name = "direct" }; return end
  local m, shape = cost.machine(machine, target), shapes(p)
  for _, schedule in ipairs(candidates(p, shape, target, m)) do
    local cannot, s = misfit(p, shape, schedule, target), not schedule.inputs and shape(schedule.copies)
    local cycles = cannot and 0 or s and estimate.gathering(p, s, schedule, m) or estimate.gradient(p, schedule, m)
    list[#list + 1] = { schedule = schedule, cycles = cycles, why = cannot }
  end
end

-- For readers of emitted C.
function direct.explain(p, s, target)
  if s.inputs then
    return { ("tiles of %d input channels x %d vectors of output channels, lane by lane; "):format(s.inputs, s.vectors)
      .. "sums over blocks of output pixels" }
  end
  local lines = {}
  local function add(text, ...) lines[#lines + 1] = text:format(...) end
  add("tiles of at most %d pixels of a row x %d vectors of %d channels stay in registers through all taps;", s.pixels,
    s.vectors, lanes_of(p, target))
  if s.copies then add "the input pixels that the stride leaves are moved together first;" end
  if s.across then add "the next rows are fetched while all output channels of these are computed;" end
  if s.stream then add "the output is written past the caches;" end
  if s.fetch then add "the panel of weights comes from far and is fetched early;" end
  local length = gathering.shape(p, s.copies).p.output[3]
  if length ~= p.output[3] then add("pixels that lie one behind the other are taken as rows of " .. length .. ";") end
  if s.splits then
    add("a task lays out what a band of %d rows needs as pixels, and its outputs as planes", s.rows)
  else
    local rows = s.rows == 1 and "a row" or s.rows .. " rows"
    add("a task is %s of the output for a panel of weights, which stays in the caches through it", rows)
  end
  return lines
end

function direct.stages(p, s, target)
  local by_inputs = p.pass == "backward_weights"
  if by_inputs ~= (s.inputs ~= nil) then return nil, names.print(s) .. " is not a schedule of this pass" end
  local why = refused(p) or misfit(p, shapes(p), s, target)
  if why then return nil, why end
  local result = (by_inputs and gradient or gathering).stages(p, s, target)
  for _, kernel in ipairs(result.kernels) do
    local map, cannot = registers.allocate(kernel, target)
    if not map then return nil, cannot end
  end
  return result
end

return direct
