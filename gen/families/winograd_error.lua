-- winograd_error.lua: how far the schemes are from the plain loop: what admits them to a tier of accuracy.
--
-- Normwise error of the points in toomcook.sets over that of the sequential loop in the same type, by the number of frequencies on
-- an axis, on independent uniform data with many channels; two axes multiply by their geometric mean. Few channels make the loop
-- better but not the transforms: `channels` is by how much.
local winograd_error = {}

winograd_error.of_size = { 1.0, 1.0, 0.7, 0.6, 1.1, 1.8, 4.0, 7.0, 12.0, 20.0 }
winograd_error.tiers = { proven = 0, loop = 1.25, ["2x"] = 2.1, ["8x"] = 8 }

local function channels(n) return 1 + 2.5 / n ^ 0.75 end

-- Predicted error over the loop's of tiles with so many frequencies, reducing over so many channels.
function winograd_error.predict(h_size, w_size, reduced)
  local of = winograd_error.of_size
  return math.sqrt((of[h_size] or 99) * (of[w_size] or 99)) * channels(reduced)
end

return winograd_error
