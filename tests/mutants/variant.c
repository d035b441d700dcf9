/* variant.c: kernels/plan.c and launch.c, one of them perhaps patched, under names of their own and over device sources
 * that may be patched too. VARIANT is the name; PLAN_C and LAUNCH_C are the files. */
#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define gg_embedded_sources mutant_embedded_sources
#define gg_plan_make JOIN(VARIANT, plan_make)
#define gg_plan_source JOIN(VARIANT, plan_source)
#define gg_workspace_bytes JOIN(VARIANT, workspace_bytes)
#define gg_launch JOIN(VARIANT, launch)
#define gg_has_workspace JOIN(VARIANT, has_workspace)
#define gg_run JOIN(VARIANT, run)
#define gg_forward JOIN(VARIANT, forward)
#define gg_dX JOIN(VARIANT, dX)
#define gg_dW JOIN(VARIANT, dW)
#define gg_reduce_topk JOIN(VARIANT, reduce_topk)
#define gg_backward JOIN(VARIANT, backward)
#define gg_backward_workspace JOIN(VARIANT, backward_workspace)

#include "mutants.h"

#undef gg_embedded_sources
#define gg_embedded_sources mutant_sources

#include PLAN_C
#undef COUNT
#undef ARGUMENT
#undef REFUSE

#include LAUNCH_C

#ifndef STALE_MUTANT
#define STALE_MUTANT 0
#endif
#define TEXT_(name) #name
#define TEXT(name) TEXT_(name)
extern const variant JOIN(VARIANT, variant);
const variant JOIN(VARIANT, variant) = {.name = TEXT(VARIANT),
                                        .stale = STALE_MUTANT,
                                        .plan_make = gg_plan_make,
                                        .launch = gg_launch,
                                        .reduce_topk = gg_reduce_topk};
