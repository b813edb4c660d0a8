-- planar_sweeps.lua: what both forms of planar's backward weights share: the sweep over a row of output pixels, sums
-- and totals.
--
-- Pixels at the ends of a row, where some taps of a tile lie in the padding, are written out; a tap never sees
-- another's pixels.
local reduce = require "reduce"
local sweeps = {}

sweeps.most_border = 32

---- a row of pixels ---------------------------------------------------------------------------------------------------

-- The pixels of a row as the taps [first, last] of it see them: those at the ends that only some taps see, as {at, low,
-- high} (taps, from 0; at relative to `from`), and between them the pixels [from, from + count) that all see.
function sweeps.row_of(p, first, last)
  local s, dilation, pad, width, outputs = p.stride[3], p.dilation[3], p.pad[3], p.input[3], p.output[3]
  local function sees(pixel, k)
    local x = pixel * s + k * dilation - pad
    return x >= 0 and x < width
  end
  local row, partly = { ends = {}, from = 0, count = 0 }, {}
  for pixel = 0, outputs - 1 do
    local low, high
    for k = first, last do if sees(pixel, k) then low, high = low or k, k end end
    if low == first and high == last then
      if row.count == 0 then row.from = pixel end
      row.count = row.count + 1
    elseif low then
      partly[#partly + 1] = { at = pixel, low = low - first, high = high - first }
    end
  end
  if row.count == 0 then row.from = partly[1] and partly[1].at or 0 end
  for i, e in ipairs(partly) do
    row.ends[i] = { at = e.at - row.from, after = row.count > 0 and e.at > row.from or false, low = e.low, high = e.high }
  end
  return row
end

function sweeps.key_of(row)
  local words = {}
  -- Ends behind the middle are addressed from its end, so that rows of any length share a kernel.
  for i, e in ipairs(row.ends) do
    words[i] = ("%d%s:%d-%d"):format(e.after and e.at - row.count or e.at, e.after and "+" or "", e.low, e.high)
  end
  return table.concat(words, " ")
end

-- The sweep over one row: step(x, g, at, low, high) for a pixel `at` pixels from where x and g stand.
function sweeps.sweep(k, row, x, g, x_step, g_step, columns, last_tap, step)
  for _, e in ipairs(row.ends) do if not e.after then step(x, g, e.at, e.low, e.high) end end
  k:loop(columns, function()
    step(x, g, 0, 0, last_tap)
    k:advance(x, x_step)
    k:advance(g, g_step)
  end)
  for _, e in ipairs(row.ends) do if e.after then step(x, g, e.at - row.count, e.low, e.high) end end
end

function sweeps.accumulators(k, rows, columns, name)
  local acc = {}
  for m = 0, rows - 1 do
    acc[m] = {}
    for v = 0, columns - 1 do
      acc[m][v] = k:vector(("%s%d_%d"):format(name, m, v))
      k:zero(acc[m][v])
    end
  end
  return acc
end

-- total[m][v] += acc[m][v]; place(m): where the totals of a row are. Without temp acc is the total.
function sweeps.add_totals(k, acc, total, temp, place)
  for m = 0, #acc do
    for v = 0, #acc[m] do
      reduce.total(k, k:at(total, place(m) + v * k.lanes), acc[m][v], temp)
    end
  end
end

return sweeps
