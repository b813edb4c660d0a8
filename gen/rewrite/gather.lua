-- gather.lua: the input pixels that a strided 1x1 kernel reads, moved together. Where the input is, they lie far apart:
-- in few sets of the caches, each in a page of its own, and in short rows that divide into tiles badly.
local driver = require "driver"
local parts = require "parts"
local relayout = require "relayout"
local view = require "view"
local gather = {}

gather.node = { "gather", when = "copies" } -- in a schedule's name

local most = 1 << 20 -- bytes

-- Elements from a moved pixel to the next: an odd number of cache lines.
function gather.pitch(p) return parts.odd_lines(p.ic, parts.size_of(p)) end

-- Bytes of that many pixels, or nil and why they are not moved.
function gather.bytes(p, pixels)
  if p.groups > 1 then return nil, "copies inputs of one group only" end
  for i = 1, 3 do
    if p.kernel[i] ~= 1 or p.pad[i] ~= 0 or (p.output[i] - 1) * p.stride[i] >= p.input[i] then
      return nil, "copies inputs of a 1x1 kernel without a pad only"
    end
  end
  local bytes = pixels * gather.pitch(p) * parts.size_of(p)
  if bytes > most then return nil, ("would copy %d bytes, at most %d"):format(bytes, most) end
  return bytes
end

-- The same of all pixels that a forward problem reads.
function gather.all_bytes(p)
  if p.pass ~= "forward" then return nil, "copies inputs forward only" end
  if p.layout == "nchw" then return nil, "channels-first pixels are laid out anyway" end
  if p.stride[1] * p.stride[2] * p.stride[3] == 1 then return nil, "copies inputs for a stride only" end
  return gather.bytes(p, parts.pixels(p, p.output))
end

-- The problem that is left when all are moved.
function gather.child(p) return setmetatable({ input = p.output, stride = { 1, 1, 1 } }, { __index = p }) end

-- rows x columns pixels, the strides of the problem apart.
function gather.kernel(b)
  local p, src = b.p, view.src(b.p)
  return b:add(relayout.copy({ from = "src", to = "out", elements = p.ic, many = true,
    about = "Moves pixels together: rows x columns of those that the stride leaves, an odd number of cache lines "
      .. "apart.", loops = { { count = "rows", steps = { p.stride[2] * src.h }, names = { "from" } },
      { count = "columns", steps = { p.stride[3] * src.w, gather.pitch(p) } } } }, b:called "copy"))
end

-- All pixels into the shared memory, a row of output pixels a task.
function gather.stage(b)
  local p, kernel = b.p, gather.kernel(b)
  local row, rows = view.src(p).h, p.output[2]
  local function body(d, n, od, at)
    d:call(kernel, { { d.src, (n * p.input[1] + od * p.stride[1]) * (p.input[2] * row) + at * (p.stride[2] * row) },
      { d.shared, ((n * p.output[1] + od) * rows + at) * (p.output[3] * gather.pitch(p)) }, 1, p.output[3] })
  end
  return driver.stage { name = "copy", parts = { { body = body,
    indices = { { "n", p.batch }, { "od", p.output[1] }, { "row", rows } } } } }
end

return gather
