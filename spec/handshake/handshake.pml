/* The hand-over of a call from a guest thread to the Sentry's worker and back, as the trap platform does it. README.md
 * says which variable is which in the code, and handshake_test.py which runs are made. Each access to what others see is a
 * step of its own; an atomic or d_step holds one such access, with what its process alone looks at, or what the code does by
 * one locked instruction or one host call.
 *
 * Up to two honest guest threads, 0 and 1, and a third that cheats, each in a process of its own. A cheat may write
 * anything into its pages at any time, so what the worker reads there is anything: it is chosen where it is read.
 * -DBREAK_... takes away one precaution of the code: then a property must fail. */

#ifndef HONEST
#define HONEST 1
#endif
#ifndef CHEATS
#define CHEATS 1
#endif
#define THREADS 3
#define CHEAT 2

mtype = { kIdle, kRequest, kRequestAsleep, kReply, kResting };
mtype = { kOut, kRead, kChanged, kAsleep };

/* --- shared with the guests */
mtype state[2] = kIdle;        /* CallLine::state */
bit polled[2];                 /* CallLine::polled: the worker looks at the state, no bell is needed */
bit bell[2];                   /* the thread's bit of ControlHeader::bell */
byte hand_to[2];               /* ControlPage::hand_to: thread + 1 */
bit worker_sleeps;             /* SharedPage::worker_sleeps */
/* Stores that only their author sees yet. Fences forbid them; so they occur where a fence is taken away. */
bit sleeps_buffered, request_buffered[2], polled_buffered[2];

/* --- the host's */
bit doorbell;                  /* the eventfd has a count */
/* The thread's sleep word, as it concerns the thread: not looked at; read; changed since; asleep in FUTEX_WAIT. */
mtype futex[2] = kOut;

bit asked[2];                  /* for the properties: has a request out */

/* There are 512 sleep words for all threads of a sandbox: threads may share one. */
#ifdef SHARE_WORD
#define SAME_WORD(a, b) true
#else
#define SAME_WORD(a, b) ((a) == (b))
#endif

/* fetch_add on the word of thread t: whoever has read it before will not fall asleep on it. */
inline count_up(t) {
  futex[0] = (SAME_WORD(0, t) && futex[0] == kRead -> kChanged : futex[0]);
  futex[1] = (SAME_WORD(1, t) && futex[1] == kRead -> kChanged : futex[1])
}

/* FUTEX_WAKE on it, of all. */
inline futex_wake(t) {
  d_step {
    futex[0] = (SAME_WORD(0, t) && futex[0] == kAsleep -> kOut : futex[0]);
    futex[1] = (SAME_WORD(1, t) && futex[1] == kAsleep -> kOut : futex[1])
  }
}

/* ------------------------------------------------------------------ a guest thread: stub.cc */

proctype guest(byte me) {
  mtype seen = kIdle;
  byte next;

again:
  if
  :: goto end_computes           /* in guest code, for ever */
#ifndef ALL_POLLED
  :: state[me] = kResting;       /* rest_in_futex(): maybe for long */
     state[me] = kIdle;
     goto again
#endif
  :: skip                        /* asks */
  fi;

  /* call_sentry() */
#ifdef BREAK_RING_BEFORE_REQUEST
  bell[me] = !polled[me];
#endif
#ifdef BREAK_UNLOCKED_REQUEST
  d_step { request_buffered[me] = 1; asked[me] = 1 };
#else
  d_step { state[me] = kRequest; asked[me] = 1 };  /* xchg: everybody sees it ere anything behind it is read */
#endif
#ifndef BREAK_RING_BEFORE_REQUEST
  if
  :: !polled[me] -> bell[me] = 1  /* lock or */
  :: else
  fi;
#endif
  if
  :: worker_sleeps -> doorbell = 1  /* write to STUB_FD_WAKE */
  :: else
  fi;
#ifdef BREAK_UNLOCKED_REQUEST
  !request_buffered[me];  /* the cmpxchg below waits for that */
#endif

  /* await_reply(): a thread that spins sees no more than the cmpxchg would. */
sleep:
#ifndef BREAK_READ_WORD_LATE
  futex[me] = kRead;
#endif
  atomic {  /* cmpxchg */
    seen = state[me];
    state[me] = (seen == kRequest -> kRequestAsleep : seen)
  }
  if
  :: seen == kReply -> goto answered
  :: else -> seen = kIdle
  fi;
#ifdef BREAK_READ_WORD_LATE
  futex[me] = kRead;
#endif
  atomic { next = hand_to[me]; hand_to[me] = 0 }
  if
  :: next != 0 -> futex_wake(next - 1); next = 0
  :: else
  fi;
  futex[me] = (futex[me] == kRead -> kAsleep : kOut);  /* FUTEX_WAIT compares and sleeps in one step */
  futex[me] != kAsleep;
  state[me] = (state[me] == kRequestAsleep -> kRequest : state[me]);  /* cmpxchg: awake, it looks for a while again */
  goto sleep;

answered:
  atomic { next = hand_to[me]; hand_to[me] = 0 }
  if
  :: next != 0 -> futex_wake(next - 1); next = 0
  :: else
  fi;
  atomic {
    assert(state[me] == kReply && asked[me]);
    state[me] = kIdle;
    asked[me] = 0;
    futex[me] = kOut;
    seen = kIdle;
    goto again
  }

end_computes: false
}

/* Any host call that a gate lets through. A wake-up that the Sentry left to it (hand_to) it never makes, or makes for
 * another. */
proctype cheat() {
end_again:
  if
  :: doorbell = 1
  :: futex_wake(0)
  :: futex_wake(1)
  :: goto end_stops
  fi;
  goto end_again;
end_stops: false
}

/* ------------------------------------------------------------------ the worker */

#define ANY(set) (set[0] || set[1] || set[2])
#define TIMER_ARMED (ANY(parked) || ANY(handed))
#define ASKS(t) (state[t] == kRequest || state[t] == kRequestAsleep)
#define SEEN(t) (runs[t] && (bell[t] || (polled[t] && state[t] == kRequest)))
/* Wakes that are due and timers are a matter of time. For safety: they may take for ever. For liveness (-DTIME_PASSES):
 * no longer than one round of the worker. */
#ifdef TIME_PASSES
#define MAY_GO_ON (!late_wakes || !ANY(waiting))
#define NO_TIMER (!late_timers || !TIMER_ARMED)
#define end_round() late_wakes = ANY(waiting); late_timers = TIMER_ARMED
#else
#define MAY_GO_ON true
#define NO_TIMER true
#define end_round() skip
#endif

/* Wakes::check_handed(), 1 ms after the first was handed over: whoever still has its answer unread. */
inline check_one(t) {
  handed[t] = 0;
  if
#ifndef BREAK_NO_CHECK
  :: atomic { state[t] == kReply -> count_up(t) }; futex_wake(t)
#endif
  :: else
  fi
}
inline check_handed() {
  do
  :: handed[0] -> check_one(0)
  :: handed[1] -> check_one(1)
  :: handed[CHEAT] -> handed[CHEAT] = 0; if :: count_up(CHEAT); futex_wake(CHEAT) :: true fi
  :: !ANY(handed) -> break
  od
}

/* TrapPlatform::stop_polling(), where another thread wants the place of one that is quiet. */
inline evict(t) {
  if
  :: polled[t] && (!runs[t] || rests[t]) ->
#ifdef BREAK_UNFENCED_POLLED
       polled_buffered[t] = 1;
#else
       polled[t] = 0;  /* xchg */
#endif
#ifndef BREAK_EVICT_BLINDLY
       if
       :: runs[t] && ASKS(t) -> bell[t] = 1  /* it may not have rung */
       :: else
       fi
#endif
  :: true
  fi
}

/* TrapContext::resume(): write_regs(), start_running() with want_polled(), hand_back() with Wakes::soon() or now(): which of
 * them depends on how many threads run, so here it may be any. */
inline answer(t) {
  atomic {
    assert(!runs[t] && asked[t] && ASKS(t));  /* not twice */
    runs[t] = 1;
    rests[t] = 0;
    if
    :: !polled_buffered[t] -> polled[t] = 1
#ifndef ALL_POLLED
    :: true
#endif
    fi
  };
  d_step { old = state[t]; state[t] = kReply };  /* xchg */
  if
  :: d_step { old == kRequestAsleep -> old = kIdle; count_up(t) }; futex_wake(t)
  :: d_step { old == kRequestAsleep -> old = kIdle; count_up(t); waiting[t] = 1 }
  :: d_step { old != kRequestAsleep -> old = kIdle }
  fi
}
inline answer_cheat() {
  runs[CHEAT] = 1;
#ifndef ALL_POLLED
  evict(0);
#endif
  if
  :: d_step { count_up(CHEAT) }; futex_wake(CHEAT)
  :: d_step { count_up(CHEAT); waiting[CHEAT] = 1 }
  :: true
  fi
}

/* TrapContext::will_wait(), called where the call's fiber parks. */
inline will_wait(t) {
  if
  :: state[t] == kRequest ->
       pick_next();
       if
       :: next != 0 -> hand_to[t] = next
       :: else
       fi;
       d_step {  /* cmpxchg */
         old = state[t];
         state[t] = (old == kRequest -> kRequestAsleep : old)
       }
       if
       :: d_step { old == kRequest && next != 0 -> hand_over(); old = kIdle }
       :: d_step { old == kRequest && next == 0 -> old = kIdle }
       :: d_step { old != kRequest -> hand_to[t] = 0; next = 0; old = kIdle }
       fi
  :: else
  fi
}
inline will_wait_cheat() {
  if
  :: pick_next();
     if
     :: d_step { next != 0 -> hand_over() }
     :: next == 0
     fi
  :: true
  fi
}
/* Wakes::next(): the code takes the one that came last. */
inline pick_next() {
  if
  :: waiting[0] -> next = 1
  :: waiting[1] -> next = 2
  :: waiting[2] -> next = 3
  :: !ANY(waiting)
  fi
}
/* Wakes::handed() */
inline hand_over() {
  waiting[next - 1] = 0;
  handed[next - 1] = 1;
  next = 0
}

/* take_request(), and what the kernel does about it: it answers at once, or the call waits for something. */
inline take(t) {
  atomic { runs[t] = 0; busy = 1 };
  if
  :: answer(t)
  :: parked[t] = 1; will_wait(t)
  fi
}
#ifdef BREAK_TAKE_TWICE
#define MAY_TAKE(t) true
#else
#define MAY_TAKE(t) runs[t]
#endif

/* TrapPlatform::poll(): the states of those that are polled, then the bells of processes with a running thread. */
inline poll_state(t) {
  if
  :: MAY_TAKE(t) && polled[t] ->
       if
       :: atomic { ASKS(t) -> rests[t] = 0 }; take(t)
       :: d_step { !ASKS(t) -> rests[t] = (state[t] == kResting) }  /* note_rest() */
       fi
  :: else
  fi
}
inline poll_bell(t) {
  if
  :: atomic { runs[t] && bell[t] -> bell[t] = 0 };  /* xchg of the word */
     if
     :: ASKS(t) -> take(t)
     :: else
     fi
  :: else
  fi
}
inline poll_cheat() {
  if
  :: atomic { runs[CHEAT] -> runs[CHEAT] = 0; busy = 1 };
     if
     :: answer_cheat()
     :: parked[CHEAT] = 1; will_wait_cheat()
     fi
  :: true
  fi
}

inline poll() {
  poll_state(0);
#if HONEST == 2
  poll_state(1);
#endif
#if CHEATS == 1
  poll_cheat();
#endif
  poll_bell(0);
#if HONEST == 2
  poll_bell(1)
#endif
}

/* Something else happened: the calls that waited for it are answered. */
inline answer_parked() {
  do
  :: parked[0] -> parked[0] = 0; answer(0)
  :: parked[1] -> parked[1] = 0; answer(1)
  :: parked[CHEAT] -> parked[CHEAT] = 0; answer_cheat()
  :: !ANY(parked) -> break
  od
}

/* EventLoop::run(). One poll() for both that it makes: the second is the one behind before_sleep(). */
proctype worker() {
  bit runs[THREADS];                   /* TrapContext::running_ */
  bit rests[2];                        /* TrapContext::resting_ */
  bit waiting[THREADS];                /* Wakes::waiting_: answered, asleep, not woken yet */
  bit handed[THREADS];                 /* Wakes::handed_: left to a guest */
  bit parked[THREADS];                 /* the fiber of its call waits */
  bit busy, sleepy;
  bit late_wakes, late_timers;         /* a round went by with something due */
  byte next;
  mtype old = kIdle;

  d_step { runs[0] = 1; runs[1] = (HONEST == 2); runs[2] = (CHEATS == 1) }
loop:
  poll();
  if
  :: sleepy && busy -> goto woken
  :: sleepy && !busy -> goto end_sleeps
  :: !sleepy
  fi;
  /* Wakes::if_due() with all_now(), then the timers, then whether to sleep. */
flush:
  if
  :: d_step { waiting[0] -> waiting[0] = 0; count_up(0) }; futex_wake(0); goto flush
  :: d_step { waiting[1] -> waiting[1] = 0; count_up(1) }; futex_wake(1); goto flush
  :: d_step { waiting[2] -> waiting[2] = 0; count_up(2) }; futex_wake(2); goto flush
  :: MAY_GO_ON && TIMER_ARMED -> check_handed(); answer_parked(); busy = 0; end_round(); goto loop
  :: d_step { MAY_GO_ON && NO_TIMER && busy -> busy = 0; end_round() }; goto loop
  :: d_step { MAY_GO_ON && NO_TIMER && !busy && doorbell -> doorbell = 0; end_round() }; goto loop  /* poll_fds(0) */
  :: d_step { MAY_GO_ON && NO_TIMER && !busy && (SEEN(0) || SEEN(1) || runs[CHEAT]) -> end_round() }; goto loop              /* while it spins */
  :: d_step {  /* It has spun for long enough: before_sleep(), which makes all_now() before it says that it sleeps. */
#ifdef BREAK_SLEEP_ON_WAITING
       MAY_GO_ON && NO_TIMER && !busy ->
#else
       !ANY(waiting) && NO_TIMER && !busy ->
#endif
       end_round();
       sleepy = 1;
#ifdef BREAK_UNFENCED_SLEEP
       sleeps_buffered = 1
#else
       worker_sleeps = 1  /* xchg, which is what a sequentially consistent store is on x86 */
#endif
     };
#ifndef BREAK_NO_LAST_SCAN
     goto loop
#endif
  fi;
end_sleeps:
  if  /* epoll_pwait2() */
  :: doorbell -> doorbell = 0
  :: TIMER_ARMED -> late_timers = 1
  fi;
woken:
#ifdef BREAK_UNFENCED_SLEEP
  !sleeps_buffered;
#endif
  atomic { worker_sleeps = 0; sleepy = 0; busy = 0 };  /* after_sleep() */
  goto loop
}

/* Buffered stores become visible some time. */
proctype memory() {
end_again:
  if
  :: d_step { sleeps_buffered -> worker_sleeps = 1; sleeps_buffered = 0 }
  :: d_step { request_buffered[0] -> state[0] = kRequest; request_buffered[0] = 0 }
  :: d_step { request_buffered[1] -> state[1] = kRequest; request_buffered[1] = 0 }
  :: d_step { polled_buffered[0] -> polled[0] = 0; polled_buffered[0] = 0 }
  :: d_step { polled_buffered[1] -> polled[1] = 0; polled_buffered[1] = 0 }
  fi;
  goto end_again
}

init {
  atomic {
    run worker();
    run guest(0);
#if HONEST == 2
    run guest(1);
#endif
#if CHEATS == 1
    run cheat();
#endif
#if defined(BREAK_UNFENCED_SLEEP) || defined(BREAK_UNLOCKED_REQUEST) || defined(BREAK_UNFENCED_POLLED)
    run memory()
#endif
  }
}

/* Whoever asks is answered, and knows it. */
ltl answered { ([]<> !asked[0]) && ([]<> !asked[1]) }
