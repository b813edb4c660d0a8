-- network/types.lua: the types of a network's tensors: those of convolutions, and i64, which is of indices alone.
local rows = require("types").rows
local types = {}

local own = { i64 = 8 }

function types.is(name) return rows[name] ~= nil or own[name] ~= nil end
function types.bytes(name) return own[name] or rows[name].bytes end

return types
