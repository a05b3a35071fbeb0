#include "tools/program.h"

int main(int argc, char** argv) {
  using namespace camlucida::cli;
  Program program;
  for (const auto add : {add_inspect, add_predict, add_explain, add_pair, add_diff, add_evaluate,
                         add_analyse, add_check, add_bench, add_convert, add_menagerie, add_methods,
                         add_operators, add_zoo, add_version}) {
    add(program);
  }
  return program.run(argc, argv);
}
