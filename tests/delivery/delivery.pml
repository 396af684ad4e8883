/* Delivery of batches as a model for spin: source, middle stage, sink that joins, supervisor; stages die at any moment (docs/delivery.md).
 *
 * Slots' generations, `sent` and `got`, the answers `down` and `cancelled`, re-issue and restart are those of launch/recover.c,
 * launch/run.c and runtime/proc.c. Every deliberate fault (-DFAULT_...) must be found. The source (0) feeds the middle (1) and the sink (2),
 * the middle feeds the sink, which joins: links 0 = 0>1, 1 = 1>2, 2 = 0>2. */
#define STAGES 3
#define SINK   2
#ifndef BATCHES
#define BATCHES 2
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#ifndef MORTAL
#define MORTAL STAGES                   /* the one stage that dies; STAGES: any does */
#endif
#define SLOTS 2
#define WRITER(e) (e == 1)
#define READER(e) (e == 0 -> 1 : 2)
#define ROOM  9                         /* of channels: more than can ever be under way; an assertion says so */

mtype = { start, reader_down, writer_down, reader_up, cancel, issue, ready, down, cancelled, ack };
#define NONE 0
#define WAITS 1                         /* at the input; of the source: issued */
#define PART  3                         /* one part of two has come */
#define WORKS 2                         /* its pages are read or written */

/* what outlives a stage: pages, generations, journal */
byte gen[SLOTS], sent[6], got[6], journal[BATCHES];     /* both [link * SLOTS + slot] */

/* processes */
bool up[STAGES], begun[STAGES], listens[STAGES];
byte inc[STAGES], endpoint[3];                     /* endpoint: incarnation of the reader that the set-up names, 0 = none */
byte link_to[3];                                        /* incarnation of the reader that the link goes to, 0 = none */
bool credit[3];
byte st[6], st_gen[6], st_batch[6], st_attempt[6], owes[6];   /* [stage * SLOTS + slot] */
bool out_full[4], out_noted[4];                         /* by link; 3: the sink's acknowledgement */
byte out_slot[4], out_gen[4], out_batch[4], out_attempt[4];
byte deaths;
bool over;

chan to[STAGES]   = [ROOM] of { mtype, byte, byte, byte, byte };   /* from the supervisor: slot or stage, generation or incarnation, batch, attempt */
chan from[STAGES] = [ROOM] of { mtype, byte, byte };
chan link[3]      = [ROOM] of { byte, byte, byte, byte };          /* slot, generation, batch, attempt */

#define AT(p, s) ((p) * SLOTS + (s))
#define SAY(p, m, x, y) assert(nfull(from[p])); from[p]!m(x, y)
#define TELL(p, m, x, y, b, a) if :: up[p] -> assert(nfull(to[p])); to[p]!m(x, y, b, a) :: else fi
/* Nobody may hold another use of the slot while its memory is written. */
#define ALONE(s, g) \
    assert((st[AT(0, s)] != WORKS || st_gen[AT(0, s)] == g) && (st[AT(1, s)] == NONE || st_gen[AT(1, s)] == g) && \
           (st[AT(2, s)] == NONE || st_gen[AT(2, s)] == g))

inline let_go(p, s)
{
    st[AT(p, s)] = NONE; st_gen[AT(p, s)] = 0; st_batch[AT(p, s)] = 0; st_attempt[AT(p, s)] = 0;
    if
    :: owes[AT(p, s)] != 0 -> SAY(p, cancelled, s, 0); owes[AT(p, s)] = 0
    :: else
    fi
}

inline clear_out(p)
{
    out_full[p] = false; out_noted[p] = false; out_slot[p] = 0; out_gen[p] = 0; out_batch[p] = 0; out_attempt[p] = 0
}

/* Takes in a header; a late one is dropped. */
inline take_in(p, e)
{
    link[e]?x, y, b, a;
    if
    :: gen[x] == y ->
        if
        :: p == SINK && st[AT(p, x)] == PART -> assert(st_gen[AT(p, x)] == y && got[AT(e, x)] != y); st[AT(p, x)] = WAITS
        :: else ->
            assert(st[AT(p, x)] == NONE);
            st[AT(p, x)] = (p == SINK -> PART : WAITS)
        fi;
        st_gen[AT(p, x)] = y; st_batch[AT(p, x)] = b; st_attempt[AT(p, x)] = a;
        got[AT(e, x)] = y
    :: else
    fi
}

inline take_all(p, e)
{
    do :: nempty(link[e]) -> take_in(p, e) :: empty(link[e]) -> break od
}

inline connect_first(e)
{
    if :: endpoint[e] != 0 -> link_to[e] = endpoint[e]; credit[e] = false :: else fi
}

inline obey(p)
{
    to[p]?m, x, y, b, a;
    if
    :: m == start ->
        begun[p] = true;
        if :: p == 0 -> connect_first(0); connect_first(2) :: p == 1 -> connect_first(1) :: else fi
    :: m == reader_up ->
        assert(!credit[x] || link_to[x] != y);          /* a second link of the same name to the same reader */
        endpoint[x] = 0; link_to[x] = y; credit[x] = false
    :: m == reader_down -> link_to[y] = 0; credit[y] = false; SAY(p, down, x, 0)
    :: m == writer_down ->
        n = x;
        if :: p == 1 -> take_all(p, 0) :: p == SINK -> take_all(p, 1); take_all(p, 2) :: else fi;
        SAY(p, down, n, 0); n = 0
    :: m == issue ->
        assert(st[AT(p, x)] == NONE);
        st[AT(p, x)] = WAITS; st_gen[AT(p, x)] = y; st_batch[AT(p, x)] = b; st_attempt[AT(p, x)] = a
    :: m == cancel ->
        owes[AT(p, x)] = y;
        if
        :: st[AT(p, x)] != WORKS && (st[AT(p, x)] == NONE || st_gen[AT(p, x)] == y) -> let_go(p, x)
        :: else
        fi
    fi;
    m = 0; x = 0; y = 0; b = 0; a = 0
}

inline empty_link(e)
{
    do :: nempty(link[e]) -> link[e]?x, y, b, a :: empty(link[e]) -> break od
}

/* Any end of what was sent goes down with the writer. */
inline cut_link(e)
{
    endpoint[e] = 0; link_to[e] = 0; credit[e] = false; clear_out(e);
    n = len(link[e]); keep = 0;
    do :: keep < n -> keep++ :: break od;
    do
    :: n > 0 ->
        link[e]?x, y, b, a;
        if :: keep > 0 -> link[e]!x, y, b, a; keep-- :: else fi;
        n--
    :: else -> break
    od
}

inline die(p)
{
    deaths++;
    up[p] = false; begun[p] = false; listens[p] = false;
    x = 0;
    do
    :: x < SLOTS ->
        st[AT(p, x)] = NONE; st_gen[AT(p, x)] = 0; st_batch[AT(p, x)] = 0; st_attempt[AT(p, x)] = 0; owes[AT(p, x)] = 0; x++
    :: else -> break
    od;
    do :: nempty(to[p]) -> to[p]?m, x, y, b, a :: empty(to[p]) -> break od;
    if
    :: p == 0 -> cut_link(0); cut_link(2)
    :: p == 1 -> empty_link(0); cut_link(1)
    :: p == SINK -> empty_link(1); empty_link(2); clear_out(3)
    fi;
    m = 0; x = 0; y = 0; b = 0; a = 0; n = 0; keep = 0
}

#define CLEAR(p) (p == 0 -> !out_full[0] && !out_full[2] : (p == 1 -> !out_full[1] : !out_full[3]))
#ifdef FAULT_NO_DEDUP
#define AGAIN(b) journal[b]++
#else
#define AGAIN(b) skip
#endif
#define CAN_WORK(s) (begun[p] && CLEAR(p) && st[AT(p, s)] == WAITS && st[AT(p, 1 - s)] != WORKS)

#define TO_READER(e) (up[READER(e)] && inc[READER(e)] == link_to[e])

inline fill(e)
{
    out_full[e] = true; out_slot[e] = x; out_gen[e] = st_gen[AT(p, x)]; out_batch[e] = b; out_attempt[e] = a
}

inline send(e)
{
    if
    :: TO_READER(e) -> assert(nfull(link[e])); link[e]!out_slot[e], out_gen[e], out_batch[e], out_attempt[e]
    :: else                                           /* into the void */
    fi
}

inline note(e)
{
    sent[AT(e, out_slot[e])] = out_gen[e]
}

/* `sent` is noted, then the header leaves; death may come between. */
#ifdef FAULT_SENT_AFTER
#define FIRST(e)  send(e)
#define SECOND(e) note(e)
#else
#define FIRST(e)  note(e)
#define SECOND(e) send(e)
#endif
/* Credit comes from a reader that lives; it may die before it is used. */
#define FLUSH(e) \
    :: atomic { p == WRITER(e) && up[p] && !credit[e] && link_to[e] != 0 && listens[READER(e)] && TO_READER(e) -> credit[e] = true } \
    :: atomic { p == WRITER(e) && up[p] && out_full[e] && !out_noted[e] && credit[e] -> FIRST(e); out_noted[e] = true } \
    :: atomic { p == WRITER(e) && up[p] && out_full[e] && out_noted[e] && credit[e] -> SECOND(e); clear_out(e); out_noted[e] = false }

proctype stage(byte p)
{
    mtype m; byte x, y, b, a, n, keep;
    do
    :: atomic { over -> break }
    :: atomic { !over && up[p] && deaths < DEATHS && (MORTAL == STAGES || p == MORTAL) -> die(p) }
    :: atomic { up[p] && !listens[p] -> listens[p] = true; SAY(p, ready, 0, 0) }
    :: atomic { up[p] && listens[p] && nempty(to[p]) -> obey(p) }
    :: atomic { p == 1 && up[p] && listens[p] && nempty(link[0]) -> take_in(p, 0); x = 0; y = 0; b = 0; a = 0 }
    :: atomic { p == SINK && up[p] && listens[p] && nempty(link[1]) -> take_in(p, 1); x = 0; y = 0; b = 0; a = 0 }
    :: atomic { p == SINK && up[p] && listens[p] && nempty(link[2]) -> take_in(p, 2); x = 0; y = 0; b = 0; a = 0 }
    :: atomic { up[p] && (CAN_WORK(0) || CAN_WORK(1)) ->
        if :: CAN_WORK(0) -> x = 0 :: CAN_WORK(1) -> x = 1 fi;
        st[AT(p, x)] = WORKS;
        if :: p < SINK -> ALONE(x, st_gen[AT(p, x)]) :: else fi;
        x = 0 }
    :: atomic { up[p] && (st[AT(p, 0)] == WORKS || st[AT(p, 1)] == WORKS) ->
        x = (st[AT(p, 0)] == WORKS -> 0 : 1);
        b = st_batch[AT(p, x)]; a = st_attempt[AT(p, x)];
        if
        :: p < SINK ->
            ALONE(x, st_gen[AT(p, x)]);
            if :: p == 0 -> fill(0); fill(2) :: else -> fill(1) fi;
            let_go(p, x)
        :: else ->
            if
            :: journal[b] == 0 -> journal[b]++
            :: else -> AGAIN(b)
            fi;
            assert(journal[b] == 1);
            out_full[3] = true; out_batch[3] = b; out_attempt[3] = a;
            let_go(p, x)
        fi;
        x = 0; b = 0; a = 0 }
    :: atomic { up[p] && p == SINK && out_full[3] -> SAY(p, ack, out_batch[3], out_attempt[3]); clear_out(3) }
    FLUSH(0)
    FLUSH(1)
    FLUSH(2)
    od
}

/* ---- the supervisor ---- */

bool alive[STAGES], is_ready[STAGES], mourned[STAGES], due[STAGES], used[SLOTS], acked[SLOTS], fence[6], await[9];  /* await[dead * STAGES + who] */
byte s_batch[SLOTS], s_attempt[SLOTS], s_inc[STAGES], next, finished, again[BATCHES];   /* again: attempt to come, 0 = none */

#ifdef FAULT_NO_FENCE
#define FENCED(s) false
#else
#define FENCED(s) (fence[s] || fence[SLOTS + s] || fence[2 * SLOTS + s])
#endif
#ifdef FAULT_EARLY_ENDPOINT
#define NAMED(r) is_ready[r]
#else
#define NAMED(r) (is_ready[r] && mourned[r])            /* until then it is named by reader_up, and by that alone */
#endif
#define AWAITED(d) (await[(d) * 3] || await[(d) * 3 + 1] || await[(d) * 3 + 2])
#define LIVING(p) (alive[p] && is_ready[p])

inline issue_slots()
{
    i = 0;
    do
    :: i < SLOTS ->
        if
        :: !used[i] && LIVING(0) && !FENCED(i) ->
            j = 0;
            do :: j < BATCHES && again[j] == 0 -> j++ :: else -> break od;
            if
            :: j < BATCHES -> s_attempt[i] = again[j]; again[j] = 0
            :: j == BATCHES && next < BATCHES -> j = next; next++; s_attempt[i] = 0
            :: else -> j = 255
            fi;
            if
            :: j != 255 ->
                used[i] = true; acked[i] = false; s_batch[i] = j;
                TELL(0, issue, i, gen[i], j, s_attempt[i])
            :: else
            fi
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0; j = 0
}

inline give_up(s)
{
    gen[s]++; used[s] = false; again[s_batch[s]] = s_attempt[s] + 1;
    j = 0;
    do
    :: j < STAGES ->
        if :: LIVING(j) -> fence[AT(j, s)] = true; TELL(j, cancel, s, gen[s] - 1, 0, 0) :: else fi;
        j++
    :: else -> break
    od
}

#define TELL_UP(w, e, d) if :: alive[w] -> TELL(w, reader_up, e, s_inc[d], 0, 0) :: else fi

inline go(d)
{
    if
    :: is_ready[d] && mourned[d] ->
        TELL(d, start, 0, 0, 0, 0);
        if
        :: d == 1 -> TELL_UP(0, 0, d)
        :: d == SINK -> TELL_UP(1, 1, d); TELL_UP(0, 2, d)
        :: else
        fi
    :: else
    fi
}

#define SENT(e, s) (sent[AT(e, s)] == gen[s])
#define GOT(e, s)  (got[AT(e, s)] == gen[s])
#define WAS_SENT(d, s)  (d == 0 -> true : (d == 1 -> SENT(0, s) : SENT(1, s) || SENT(2, s)))
#define PASSED_ON(d, s) (d == 0 -> GOT(0, s) && GOT(2, s) : (d == 1 -> GOT(1, s) : acked[s]))

inline mourn_if_still(d)
{
    if
    :: !mourned[d] && !AWAITED(d) ->
        i = 0;
        do
        :: i < SLOTS -> if :: used[i] && WAS_SENT(d, i) && !(PASSED_ON(d, i)) -> give_up(i) :: else fi; i++
        :: else -> break
        od;
        mourned[d] = true;
        go(d)
    :: else
    fi
}

/* The dead owe no answers; whatever waited for them alone goes on. */
inline excuse(p)
{
    fence[AT(p, 0)] = false; fence[AT(p, 1)] = false;
    await[p] = false; await[3 + p] = false; await[6 + p] = false
}

inline mourn_all()
{
    k = 0;
    do :: k < STAGES -> mourn_if_still(k); k++ :: else -> break od;
    k = 0;
    issue_slots()
}

#define LOST_WRITER(r, d)    if :: LIVING(r) -> TELL(r, writer_down, d, 0, 0, 0); await[d * 3 + r] = true :: else fi
#define LOST_READER(w, e, d) if :: LIVING(w) -> TELL(w, reader_down, d, e, 0, 0); await[d * 3 + w] = true :: else fi

inline bury(p)
{
    alive[p] = false; is_ready[p] = false; mourned[p] = false; due[p] = true; s_inc[p]++;
    if
    :: p == 0 -> LOST_WRITER(1, p); LOST_WRITER(2, p)
    :: p == 1 -> LOST_READER(0, 0, p); LOST_WRITER(2, p)
    :: p == SINK -> LOST_READER(1, 1, p); LOST_READER(0, 2, p)
    fi;
    excuse(p);
    mourn_all()
}

inline hear(p)
{
    from[p]?m, x, y;
    if
    :: m == ready -> is_ready[p] = true; go(p); issue_slots()
    :: m == down -> await[x * 3 + p] = false; mourn_all()
    :: m == cancelled -> fence[AT(p, x)] = false; issue_slots()
    :: m == ack ->
        i = 0;
        do
        :: i < SLOTS && !(used[i] && s_batch[i] == x && s_attempt[i] == y) -> i++
        :: else -> break
        od;
        if
        :: i < SLOTS -> acked[i] = true; used[i] = false; gen[i]++; finished++; issue_slots()
        :: else
        fi
    fi;
    m = 0; x = 0; y = 0; i = 0; j = 0
}

inline name_reader(e, r)
{
    if :: NAMED(r) -> endpoint[e] = s_inc[r] :: else -> endpoint[e] = 0 fi
}

inline spawn(p)
{
    due[p] = false; alive[p] = true; inc[p] = s_inc[p];
    if
    :: p == 0 -> name_reader(0, 1); name_reader(2, 2)
    :: p == 1 -> name_reader(1, 2)
    :: else
    fi;
    up[p] = true
}

init
{
    mtype m; byte x, y, i, j, k;
    atomic {
        do
        :: k < STAGES ->
            up[k] = true; alive[k] = true; is_ready[k] = true; mourned[k] = true; listens[k] = true; begun[k] = true; inc[k] = 1; s_inc[k] = 1;
            link_to[k] = 1;
            run stage(k);
            k++
        :: else -> break
        od;
        k = 0; gen[0] = 1; gen[1] = 1;
        issue_slots()
    }
    do
    :: atomic { finished == BATCHES -> over = true; break }
    :: atomic { finished < BATCHES && nempty(from[0]) -> hear(0) }
    :: atomic { finished < BATCHES && nempty(from[1]) -> hear(1) }
    :: atomic { finished < BATCHES && nempty(from[2]) -> hear(2) }
    :: atomic { finished < BATCHES && alive[0] && !up[0] && empty(from[0]) -> bury(0) }      /* its last words are heard first */
    :: atomic { finished < BATCHES && alive[1] && !up[1] && empty(from[1]) -> bury(1) }
    :: atomic { finished < BATCHES && alive[2] && !up[2] && empty(from[2]) -> bury(2) }
    :: atomic { finished < BATCHES && due[0] -> spawn(0) }
    :: atomic { finished < BATCHES && due[1] -> spawn(1) }
    :: atomic { finished < BATCHES && due[2] -> spawn(2) }
    od;
    k = 0;
    do :: k < BATCHES -> assert(journal[k] == 1); k++ :: else -> break od
}
