-- turned.lua: channels-first data laid out channels-last as a whole, in memory that stages share, for schedules that
-- want it so; the result is turned back. It closes what no band of rows in a task's scratch can do: rows that are too
-- long, and all that channels-last data have a way for.
--
-- The problem that is left reads and writes its tensors in that memory (driver.lua, elsewhere), and its packing finds
-- channels-last weights behind the panels.
local build = require "build"
local driver = require "driver"
local parts = require "parts"
local relayout = require "relayout"
local cut = require "tiles"
local view = require "view"
local turned = {}

turned.node = { "turned", when = "turned" } -- in a schedule's name

local most_pixels = 256 -- that a call turns

---- what is turned ----------------------------------------------------------------------------------------------------
--
-- A tensor is `outer` matrices of pixels of channels: outside, inside: elements from one to the next channels-first and
-- channels-last; row: from channel to channel, pitch: from pixel to pixel.

local function image(v, batch)
  local pixels = v.size[1] * v.size[2] * v.size[3]
  return { name = v.base, outer = batch, outside = v.n, inside = v.n, channels = v.all, pixels = pixels, row = pixels,
    pitch = v.all, elements = batch * v.n }
end

local function weights(p)
  local icg, taps = p.ic // p.groups, p.kernel[1] * p.kernel[2] * p.kernel[3]
  local m = { name = "weights", outer = icg, outside = taps, inside = p.oc, channels = p.oc, pixels = taps,
    row = icg * taps, pitch = icg * p.oc, elements = icg * taps * p.oc }
  if taps == 1 then m.outer, m.pixels, m.pitch = 1, icg, p.oc end
  return m
end

-- The tensors that a pass reads and the one that it writes, in shared memory, and how much there is of it.
local function tensors(p)
  local src, dst, line = image(view.src(p), p.batch), image(view.dst(p), p.batch), 64 // parts.size_of(p)
  local by_pass = { forward = { { src }, dst }, backward_data = { { dst }, src },
    backward_weights = { { src, dst }, weights(p) } }
  local inputs, output = table.unpack(by_pass[p.pass])
  if p.epilogue.residual then inputs[2] = setmetatable({ name = "residual" }, { __index = output }) end
  local list, at = table.move(inputs, 1, #inputs, 2, { output }), 0
  for _, m in ipairs(list) do
    m.at, at = at, at + parts.round_up(m.elements, line)
  end
  return { inputs = inputs, output = output, all = list, elements = at }
end

---- stages ------------------------------------------------------------------------------------------------------------

-- A cache line of channels at a time.
local function channel_runs(m, size)
  local line = 64 // size
  local whole, rest = m.channels // line, m.channels % line
  return { { first = 0, size = line, count = whole },
    { first = m.channels - rest, size = rest, count = rest > 0 and 1 or 0 } }
end

local function kernel(b, m, pixels, channels, back)
  local view_of = { pixels = pixels, channels = channels, pitch = m.pitch, row = m.row, exact = true,
    limit = (pixels - 1) * m.pitch + channels }
  local key = ("%s %d %d %d %d"):format(back, pixels, channels, m.pitch, m.row)
  return b:kernel("turn " .. key, "turn", function(o)
    return relayout[back and "to_rows" or "to_pixels"](view_of, o)
  end)
end

-- The parts that turn a tensor into `memory`, from an element on, or back.
local function turning(b, list, m, memory, origin, back)
  for _, pixels in ipairs(cut.piece_runs(m.pixels, most_pixels)) do
    for _, channels in ipairs(channel_runs(m, b.size)) do
      local turn = channels.count > 0 and kernel(b, m, pixels.size, channels.size, back)
      list[#list + 1] = { indices = { { "matrix", m.outer }, { "block", pixels.count }, { "line", channels.count } },
        body = function(d, matrix, block, line)
          local pixel = d:let("pixel", block * pixels.size + pixels.first)
          local channel = d:let("channel", line * channels.size + channels.first)
          local outside = { d[m.name], matrix * m.outside + channel * m.row + pixel }
          local inside = { d[memory], matrix * m.inside + pixel * m.pitch + channel + origin }
          d:call(turn, back and { inside, outside } or { outside, inside })
        end }
    end
  end
  return list
end

-- Channels-last weights behind `packed` bytes of panels; answers the stage, where they are, and the bytes of all.
local function turned_weights(b, packed)
  local m = weights(b.p)
  local origin = parts.round_up(packed, 64) // b.size
  local stage = driver.stage { name = "turn_weights", pack = true, parts = turning(b, {}, m, "packed", origin) }
  return stage, { "packed", origin }, (origin + m.elements) * b.size
end

-- Says where a stage finds its tensors.
local function place(stage, places)
  stage.elsewhere = places
  for name, at in pairs(places) do
    stage.shares = stage.shares or at[1] == "shared" and stage.body.used[name] or false
  end
end

-- The stages of a schedule of the problem that is left, with those that turn before and after them.
local function stages_of(b, way, child, schedule)
  local c, t, list, moves = build.new(child.p, b.target, child), tensors(b.p), {}, {}
  c.kernels = b.kernels
  local stages, packed, _, tile = way.stages(c, schedule)
  local places = {}
  for _, m in ipairs(t.all) do places[m.name] = { "shared", m.at } end
  for _, m in ipairs(t.inputs) do turning(b, moves, m, "shared", m.at) end
  b.why = c.why
  if b.p.pass ~= "backward_weights" then list[1], places.weights, packed = turned_weights(b, packed) end
  list[#list + 1] = driver.stage { name = "turn", parts = moves }
  for _, stage in ipairs(stages) do
    place(stage, places)
    table.insert(list, stage.pack and #list or #list + 1, stage)
  end
  list[#list + 1] = driver.stage { name = "turn_back", parts = turning(b, {}, t.output, "shared", t.output.at, true) }
  return list, packed or 0, t.elements * b.size, tile
end

---- a way of a family -------------------------------------------------------------------------------------------------

-- What a way does of channels-last data done of channels-first data as well: its candidates answer whether it is
-- wanted.
function turned.way(way)
  local function child_of(s)
    if s.channels_last then return s.channels_last end
    local p = setmetatable({ layout = "nhwc" }, { __index = s.p })
    local c = way.shape and way.shape(p, s.target) or view.units(p, s.target)
    c.p, c.target, c.m, s.channels_last = p, s.target, s.m, c
    return c
  end
  local w = setmetatable({}, { __index = way })
  function w.candidates(s, add)
    if not way.candidates(s, add) or s.p.layout ~= "nchw" then return end
    way.candidates(child_of(s), function(schedule)
      schedule.turned = true
      if not schedule.copies or s.p.pass == "backward_weights" then add(schedule) end
    end)
  end
  function w.misfit(s, schedule)
    if not schedule.turned then return way.misfit(s, schedule) end
    if s.p.layout ~= "nchw" then return "turned is for channels-first data" end
    if schedule.copies and s.p.pass ~= "backward_weights" then return "turned data are not gathered" end
    return way.misfit(child_of(s), schedule)
  end
  function w.cycles(s, schedule)
    if not schedule.turned then return way.cycles(s, schedule) end
    local t, bytes = s.m.tally(), tensors(s.p).elements * s.size
    t:turns(bytes / 16)
    t:copy(1, { chunk = bytes, pitch = bytes, own = bytes })
    return way.cycles(child_of(s), schedule) + t:cycles() / s.p.threads
  end
  function w.stages(b, schedule)
    if not schedule.turned then return way.stages(b, schedule) end
    return stages_of(b, way, child_of(b), schedule)
  end
  return w
end

return turned
