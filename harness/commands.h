/* commands.h: the subcommands of moegemm; each takes argv with its own name first and returns the exit status. */
#ifndef MG_COMMANDS_H
#define MG_COMMANDS_H

#define MG_COMMANDS(X)                                                                                       \
    X("run", mg_run_main, "run the selected cases (what run_tests.sh calls)")                                \
    X("list", mg_list_main, "list the ids of the selected cases")                                            \
    X("report", mg_report_main, "the page of a run; `report history`: of all runs")                          \
    X("compare", mg_compare_main, "what changed between two runs")                                           \
    X("export", mg_export_main, "a run's results as CSV")                                                    \
    X("block", mg_block_main, "time a whole MoE block, and each of its steps")                               \
    X("bench", mg_bench_main, "time the kernels on a GPU beside cuBLAS and what peers reach")                \
    X("tune", mg_tune_main, "search configs and remember the fastest")                                       \
    X("golden", mg_golden_main, "verify, generate or show the corpus")                                       \
    X("doctor", mg_doctor_main, "say what this machine can run; compile kernels ahead")

#define X(name, function, help) int function(int argc, char **argv);
MG_COMMANDS(X)
#undef X

#endif
