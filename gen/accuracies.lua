-- accuracies.lua: what an accuracy admits, one row each, in the order of convgen.h.
--
-- budget: how many times the normwise error of a plain loop a transform's may have. The runtime judges by the same row
-- (tools/facts.lua).
local accuracies = {
  { name = "loop", budget = 1.25 },
  { name = "proven", budget = 0 },
  { name = "2x", budget = 2.1 },
  { name = "8x", budget = 8 },
}

for _, row in ipairs(accuracies) do accuracies[row.name] = row end

return accuracies
