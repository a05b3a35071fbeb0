#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <memory>

#include "tools/common_flags.h"
#include "tools/http.h"
#include "tools/json_output.h"
#include "tools/messages.h"
#include "tools/program.h"
#include "tools/progress.h"
#include "tools/table.h"
#include "tools/zoo_store.h"

namespace camlucida::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  camlucida zoo list                               # what there is, and what is here
  camlucida zoo pull resnet50 mobilenetv2          # download, check, keep
  camlucida explain -m resnet50 cat.jpg            # then use it by name
  camlucida zoo pull --all --mirror https://models.example.org/onnx
  camlucida zoo verify                             # are all files still what they were?

Downloads go to $CAMLUCIDA_HOME/models/NAME, by default below ~/.cache/camlucida. A pull that was
interrupted goes on where it ended. A file that was put there by hand is checked by `zoo pull NAME`
and then used; without a network that is the way.)";

struct Flags {
  OutputFlags output;
  std::vector<std::string> names;
  bool all = false;
  std::string mirror;
  int retries = 4;
};

const char* word_for(ZooState state) {
  switch (state) {
    case ZooState::kPresent:
      return "downloaded";
    case ZooState::kIncomplete:
      return "incomplete";
    default:
      return "-";
  }
}

std::string status_of(const ZooModel& model) {
  return model.bundled ? "bundled" : word_for(state_of(model));
}

Json to_json(const ZooModel& model) {
  Json json = {{"name", model.name},
               {"aliases", model.aliases},
               {"topology", model.topology},
               {"bytes", model.bytes()},
               {"top1", model.top1 ? Json(*model.top1) : Json()},
               {"licence", model.licence},
               {"notice", model.notice},
               {"bundled", model.bundled},
               {"present", state_of(model) == ZooState::kPresent},
               {"path", model.network().string()},
               {"urls", Json::array()}};
  for (const ZooFile& file : model.files) {
    for (const std::string& url : file.urls) json["urls"].push_back(url);
  }
  return json;
}

int list(const Flags& flags) {
  const ZooCatalogue catalogue = ZooCatalogue::load();
  if (flags.output.json) {
    Json json = Json::array();
    for (const ZooModel& model : catalogue.models()) json.push_back(to_json(model));
    print_json(json);
    return 0;
  }
  Table table({{"name"},
               {"also"},
               {"network"},
               {"size", Table::Align::kRight},
               {"top-1", Table::Align::kRight},
               {"licence"},
               {"here"}});
  bool doubts = false;
  for (const ZooModel& model : catalogue.models()) {
    doubts = doubts || !model.notice.empty();
    table.add({model.name + (model.notice.empty() ? "" : " *"),
               fmt::format("{}", fmt::join(model.aliases, ", ")), model.topology,
               megabytes(static_cast<double>(model.bytes())),
               model.top1 ? fmt::format("{:.2f} %", *model.top1) : "", model.licence,
               status_of(model)});
  }
  table.print();
  if (doubts) {
    fmt::print("\n* preprocessing not certain: `zoo pull` says what to check\n");
  }
  fmt::print("\ntop-1 as stated by the source; `camlucida zoo pull NAME` downloads to {}\n",
             downloads_folder().string());
  return 0;
}

/// The models that the flags ask for; with `--all` those to download.
std::vector<const ZooModel*> chosen(const ZooCatalogue& catalogue, const Flags& flags) {
  std::vector<const ZooModel*> models;
  for (const std::string& name : flags.names) models.push_back(&catalogue.require(name));
  if (flags.all) {
    for (const ZooModel& model : catalogue.models()) {
      if (!model.bundled) models.push_back(&model);
    }
  }
  return models;
}

int pull_all(const Flags& flags) {
  if (flags.names.empty() && !flags.all) {
    throw Error(ErrorKind::kUsage, "NAME is missing", "name models of `zoo list`, or use --all");
  }
  const ZooCatalogue catalogue = ZooCatalogue::load();
  const std::vector<const ZooModel*> models = chosen(catalogue, flags);
  PullOptions options;
  options.mirror = flags.mirror;
  options.download.retries = flags.retries;
  options.download.stop = interrupted;
  catch_interrupts();
  Progress progress(models.size(), false, flags.output.quiet || flags.output.json);
  if (const auto steps = progress.steps()) {
    options.download.progress = [steps](uint64_t done, uint64_t total) {
      steps(std::llround(static_cast<double>(done) / 1e6),
            std::llround(static_cast<double>(total) / 1e6));
    };
  }
  Json json = Json::array();
  Failures failures;
  for (size_t i = 0; i < models.size(); ++i) {
    const ZooModel& model = *models[i];
    progress.show(i, model.name + ", MB");
    PullResult result = PullResult::kPresent;
    try {
      result = pull(model, options);
    } catch (const Unreachable&) {
      progress.clear();
      throw;  // the others would fail alike
    } catch (const Error& error) {
      progress.clear();
      failures.add(error, model.name);
      continue;
    }
    progress.clear();
    if (result == PullResult::kStopped) {
      report_error("interrupted; what was loaded of " + model.name +
                   " is kept, `camlucida zoo pull " + model.name + "` goes on there");
      return kExitInterrupted;
    }
    const bool pulled = result == PullResult::kPulled;
    const std::string path = model.network().string();
    json.push_back({{"name", model.name}, {"path", path}, {"downloaded", pulled}});
    if (flags.output.json || flags.output.quiet) continue;
    fmt::print("{}: {}{}\n", model.name, path, pulled ? "" : " (was there already)");
    if (!model.notice.empty()) report_notice(model.name + ": " + model.notice);
  }
  if (flags.output.json) print_json(json);
  return failures.exit_code();
}

const char* word_for(FileState state) {
  switch (state) {
    case FileState::kOk:
      return "ok";
    case FileState::kMissing:
      return "missing";
    default:
      return "damaged";
  }
}

int verify_all(const Flags& flags) {
  const ZooCatalogue catalogue = ZooCatalogue::load();
  std::vector<const ZooModel*> models = chosen(catalogue, flags);
  const bool everything = models.empty();
  if (everything) {
    for (const ZooModel& model : catalogue.models()) {
      if (state_of(model) != ZooState::kMissing) models.push_back(&model);
    }
  }
  Progress progress(models.size(), false, flags.output.quiet || flags.output.json);
  Json json = Json::array();
  Table table({{"model"}, {"file"}, {"state"}});
  std::string damaged;
  for (size_t i = 0; i < models.size(); ++i) {
    const ZooModel& model = *models[i];
    progress.show(i, model.name);
    for (const ZooFile& file : model.files) {
      const FileState state = verify(model, file);
      table.add({model.name, file.name, word_for(state)});
      json.push_back({{"name", model.name},
                      {"path", (model.folder / file.name).string()},
                      {"state", word_for(state)}});
      if (state != FileState::kOk && damaged.empty()) {
        damaged = model.name + ": '" + (model.folder / file.name).string() + "' is " +
                  word_for(state) +
                  (model.bundled ? "; install the program again"
                                 : "; `camlucida zoo pull " + model.name + "` mends it");
      }
    }
  }
  progress.clear();
  if (flags.output.json) print_json(json);
  if (!flags.output.json && !flags.output.quiet) table.print();
  if (damaged.empty()) return 0;
  report_error(damaged);
  return 1;
}

}  // namespace

void add_zoo(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const auto run = std::make_shared<int (*)(const Flags&)>(list);
  const Command command = program.add("zoo", "Models to use by name: list, pull, verify", kExamples,
                                      [flags, run] { return (*run)(*flags); });
  const auto add = [&](const char* name, const char* description, int (*action)(const Flags&)) {
    const Command added =
        command.add_command(name, description, kExamples, [run, action] { *run = action; });
    add_output_flags(added, flags->output);
    return added;
  };

  add("list", "Models there are, and which of them are here", list);

  const Command pull = add("pull", "Download models and check them", pull_all);
  pull.add_option("NAME", flags->names, "Models of `zoo list`").type_name("");
  pull.add_flag("--all", flags->all, "All that can be downloaded (several GB)");
  pull.add_option("--mirror", flags->mirror, "Download URL/FILE instead of the public address")
      .environment("CAMLUCIDA_MIRROR")
      .type_name("URL");
  pull.add_option("--retries", flags->retries,
                  "Tries after a broken connection that brought nothing further [4]")
      .within(0, 20)
      .type_name("N");

  const Command verify = add("verify", "Compare files with their checksums", verify_all);
  verify.add_option("NAME", flags->names, "Models of `zoo list` [all that are here]").type_name("");
}

}  // namespace camlucida::cli
