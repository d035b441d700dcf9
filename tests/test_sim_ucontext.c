/* test_sim_ucontext.c: the tests of seeded bugs once more, on a simulator that switches stacks by ucontext,
 * as hosts do for which there is no assembly. The sources are included, so the library's own objects stay
 * unlinked. */
#define GG_SIM_UCONTEXT

#include "backend/sim/async.c"
#include "backend/sim/backend.c"
#include "backend/sim/collectives.c"
#include "backend/sim/compile.c"
#include "backend/sim/fault.c"
#include "backend/sim/memory.c"
#include "backend/sim/mma.c"
#include "backend/sim/scheduler.c"
#include "backend/sim/switch.c"
#include "backend/sim/race.c"
#include "backend/sim/wgmma.c"

#include "test_sim_bugs.c"
