-- Leases and owners, by the rules of cluster::Registry. Time is Redis's own.

local function register(name, callback, flags)
    redis.register_function{ function_name = NAME .. '_' .. name, callback = callback, flags = flags }
end

-- Which run of Redis this is. A process that did not write the mark itself, one that followed another since it did, or one that finds
-- none, may have lost the last changes: for one lease's time only former holders take, and versions of before are none of this run.
local function run_of(ttl, last)
    local info = redis.call('INFO', 'server', 'replication')
    local this = string.match(info, 'run_id:(%x+)') .. '-' .. string.match(info, 'second_repl_offset:(%-?%d+)') .. '-'
    local mark = redis.call('GET', RUN)
    if mark and string.sub(mark, 1, #this) == this then
        return mark
    end
    local time = redis.call('TIME')
    local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
    local version = tonumber(redis.call('GET', VERSION) or '0') + 1
    redis.call('SET', VERSION, string.format('%.0f', math.max(version, tonumber(now))))
    -- An empty Redis that nobody here has seen before is new, and nobody held anything.
    if mark or last ~= '' then
        redis.call('SET', GRACE, '1', 'PX', ttl)
    end
    mark = this .. now
    redis.call('SET', RUN, mark)
    return mark
end

local function stands(node, incarnation)
    local lease = redis.call('GET', LEASE .. node)
    return lease and string.sub(lease, 1, 16) == incarnation
end

-- Whether one incarnation is later than another. Strings would be compared by the rules of some language, numbers hold 53 bits.
local function is_later(one, other)
    local high, height = tonumber(string.sub(one, 1, 8), 16), tonumber(string.sub(other, 1, 8), 16)
    if high ~= height then
        return high > height
    end
    return tonumber(string.sub(one, 9), 16) > tonumber(string.sub(other, 9), 16)
end

-- The epoch of a token, and its `node:incarnation`.
local function parts(token)
    local epoch, whose = string.match(token, '^(%d+):(.*)$')
    return tonumber(epoch), whose
end

-- node, incarnation, member, ttl, known version, run last seen, keys of owners
local function beat(keys, args)
    local run = run_of(args[4], args[6])
    local kept = redis.call('GET', LEASE .. args[1])
    if not kept or not is_later(string.sub(kept, 1, 16), args[2]) then
        redis.call('SET', LEASE .. args[1], args[2] .. args[3], 'PX', args[4])
        redis.call('SADD', NODES, args[1])
    end
    local version = redis.call('GET', VERSION)
    local members = {}
    for _, node in ipairs(redis.call('SMEMBERS', NODES)) do
        local lease = redis.call('GET', LEASE .. node)
        if lease then
            members[#members + 1] = string.sub(lease, 17)
        else
            redis.call('SREM', NODES, node)
        end
    end
    local owners = false
    if args[5] ~= version then
        owners = redis.call('MGET', unpack(keys))
    end
    return { run, version, members, owners }
end

-- node, incarnation, ttl, run last seen, then for each key of an owner: token known to be gone, token held, epoch to be
-- above
local function take(keys, args)
    run_of(args[3], args[4])
    local me = args[1] .. ':' .. args[2]
    local live = stands(args[1], args[2])
    local grace = redis.call('EXISTS', GRACE) == 1
    local taken, changes = {}, 0
    for i, key in ipairs(keys) do
        local gone, held, above = args[2 + 3 * i], args[3 + 3 * i], tonumber(args[4 + 3 * i])
        local own = redis.call('GET', key)
        local epoch, owner = 0, ''
        if own then
            epoch, owner = parts(own)
        end
        local owned = owner ~= '' and string.sub(owner, 1, 1) ~= ':'
        local holds = false
        if held ~= '' then
            local last, whose = parts(held)
            holds = whose == me and not own and last
        end
        if owned and owner == me then
            taken[i] = { 1, own }
        else
            local may = false
            if live then
                if grace then
                    may = holds
                elseif held == '' then
                    local node, incarnation = string.match(owner, '^(.*):(%x+)$')
                    may = not owned or not stands(node, incarnation) or gone == own
                end
            end
            if may then
                local token = string.format('%.0f', math.max(epoch, holds or 0, above) + 1) .. ':' .. me
                redis.call('SET', key, token)
                changes = changes + 1
                taken[i] = { 1, token }
            else
                taken[i] = { 0, owned and own }
            end
        end
    end
    if changes > 0 then
        redis.call('INCRBY', VERSION, changes)
    end
    return taken
end

-- for each key of an owner: the token that gives it back
local function release(keys, args)
    local changes = 0
    for i, key in ipairs(keys) do
        if redis.call('GET', key) == args[i] then
            local epoch = parts(args[i])
            redis.call('SET', key, string.format('%.0f', epoch) .. '::' .. string.rep('0', 16))
            changes = changes + 1
        end
    end
    if changes > 0 then
        redis.call('INCRBY', VERSION, changes)
    end
    return changes
end

-- node, incarnation
local function leave(_, args)
    if stands(args[1], args[2]) then
        redis.call('DEL', LEASE .. args[1])
        redis.call('SREM', NODES, args[1])
    end
    return 0
end

-- What a full Redis does as well: a lease must not end for want of room.
local ALWAYS = { 'allow-oom' }
register('beat', beat, ALWAYS)
register('take', take, ALWAYS)
register('release', release, ALWAYS)
register('leave', leave, ALWAYS)
