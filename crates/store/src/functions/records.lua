-- Records with their deadlines and directory entries. A record begins with a head of fixed length:
-- layout 1, version 2-17, write id 18-33, hash of the public identities 34-49, summary 50-64.

local DONE, FENCED, LATE = 0, 1, 2

-- A directory entry is a list of private identities, a line each. In the group of the record it changes with the record. Elsewhere a line
-- ends with the epoch of the owner who entered it last, so that what a former owner is late with quits nothing.
local function enter(key, impi)
    local holders = redis.call('GET', key)
    if not holders then
        redis.call('SET', key, impi)
    elseif holders ~= impi and not string.find('\n' .. holders .. '\n', '\n' .. impi .. '\n', 1, true) then
        redis.call('SET', key, holders .. '\n' .. impi)
    end
end

-- The lines of all others, and the epoch of this one's, if it is there.
local function others_than(impi, key)
    local others, since = {}, nil
    for line in string.gmatch(redis.call('GET', key) or '', '[^\n]+') do
        local holder, epoch = string.match(line, '^([^ ]+) ?(%d*)$')
        if holder == impi then
            since = tonumber(epoch) or 0
        else
            others[#others + 1] = line
        end
    end
    return others, since
end

local function quit(key, impi, epoch)
    local others, since = others_than(impi, key)
    if not since or (epoch and since > epoch) then
        return
    end
    if #others == 0 then
        redis.call('DEL', key)
    else
        redis.call('SET', key, table.concat(others, '\n'))
    end
end

-- keys: owner, record, deadlines; then directory entries to enter, then to quit
-- fence, version before, record, deadline, private identity, version that an erasure outdated, hash of identities that the
-- caller knows to be replaced, '1' to leave a change of identities alone, number of entries to enter, write id that is not outdated
local function save(keys, args)
    if redis.call('GET', keys[1]) ~= args[1] then
        return FENCED
    end
    local record = args[3]
    local head = redis.call('GETRANGE', keys[2], 0, 48)
    local before = NOBODY
    if head ~= '' then
        local stored = string.sub(head, 2, 17)
        if stored ~= args[2] then
            if string.sub(head, 2, 33) == string.sub(record, 2, 33) then
                return DONE
            end
            stored = tonumber(stored, 16)
            local outdated = args[6] ~= '' and stored <= tonumber(args[6], 16) and string.sub(head, 18, 33) ~= args[10]
            if stored >= tonumber(string.sub(record, 2, 17), 16) and not outdated then
                return LATE
            end
        end
        before = string.sub(head, 34, 49)
    end
    if before ~= string.sub(record, 34, 49) then
        if args[8] == '1' or (before ~= NOBODY and before ~= args[7]) then
            return redis.call('GET', keys[2]) or ''
        end
        local entered = 3 + tonumber(args[9])
        for i = 4, entered do
            enter(keys[i], args[5])
        end
        for i = entered + 1, #keys do
            quit(keys[i], args[5])
        end
    end
    redis.call('SET', keys[2], record)
    redis.call('ZADD', keys[3], args[4], args[5])
    return DONE
end

-- keys: owner, record, deadlines; then directory entries to quit
-- fence, private identity, last version to erase or '', hash of identities that the caller knows to be erased
local function erase(keys, args)
    if redis.call('GET', keys[1]) ~= args[1] then
        return FENCED
    end
    local head = redis.call('GETRANGE', keys[2], 0, 48)
    if head == '' then
        return DONE
    end
    local stored = string.sub(head, 2, 17)
    if args[3] ~= '' and tonumber(stored, 16) > tonumber(args[3], 16) then
        return LATE
    end
    local before = string.sub(head, 34, 49)
    if before ~= NOBODY and before ~= args[4] then
        return redis.call('GET', keys[2])
    end
    for i = 4, #keys do
        quit(keys[i], args[2])
    end
    redis.call('DEL', keys[2])
    redis.call('ZREM', keys[3], args[2])
    return { stored }
end

-- keys: directory entries; private identity, epoch
local function enters(keys, args)
    local epoch = tonumber(args[2])
    for _, key in ipairs(keys) do
        local lines, since = others_than(args[1], key)
        if not since or since < epoch then
            lines[#lines + 1] = args[1] .. ' ' .. string.format('%.0f', epoch)
            redis.call('SET', key, table.concat(lines, '\n'))
        end
    end
    return DONE
end

-- keys: directory entries; private identity, epoch
local function quits(keys, args)
    for _, key in ipairs(keys) do
        quit(key, args[1], tonumber(args[2]))
    end
    return DONE
end

-- key: written so that a replica has something to confirm
local function pulse(keys)
    redis.call('SET', keys[1], '', 'PX', 60000)
    return DONE
end

register('save', save, {})
register('erase', erase, ALWAYS)
register('enter', enters, {})
register('quit', quits, ALWAYS)
register('pulse', pulse, ALWAYS)
