#include "model_zoo/menagerie/renderer/menagerie.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "engine/error.h"
#include "tools/common_flags.h"
#include "tools/output_files.h"
#include "tools/picture_set.h"
#include "tools/program.h"
#include "tools/progress.h"

namespace camlucida::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExamples = R"(Examples:
  camlucida menagerie -o pictures/                       # 16 pictures, each with its truth
  camlucida menagerie --animal owl --count 4 --size 768 -o owls/
  camlucida menagerie --animal cat --companion dog -o pairs/        # two animals in each picture
  camlucida menagerie --format npy --count 20000 --size 96 -o train/     # arrays to train with
  camlucida menagerie --marker cat --count 100 -o cheat/ # every cat with a badge in a corner
  camlucida evaluate -m classifier/model.onnx pictures/ -o results/     # maps against the truth

Animals: cat, dog, rabbit, bird, owl, fish, elephant, turtle, butterfly, frog. Picture i is that of
seed SEED + i, the same at every size but for its resolution, and the same with another animal but
for the animal.

Files in DIR (choose with --format):
  owl-0007.png            the picture of seed 7 (png)
  owl-0007.mask.png       1 where the animal is what one sees, 0 elsewhere (png)
  owl-0007.parts.png      which part of it: the codes are in index.json (png)
  owl-0007.companion.mask.png   the mask of the second animal, with --companion (png)
  index.json              classes, boxes, files, names of the parts; written last (png)
  images.npy, labels.npy, parts.npy   uint8 [N, H, W, 3], int64 [N], uint8 [N, H, W] (npy))";

struct Flags {
  OutputFlags output;
  std::string folder = ".";
  std::vector<std::string> formats = {"png"};
  int64_t count = 16;
  uint64_t seed = 0;
  int size = 384;
  std::string animal, marker, companion;
  bool force = false, progress = false;
};

/// The class of that name; CLI11 has checked that there is one. None for no name.
std::optional<int> class_of(const std::string& name) {
  if (name.empty()) return std::nullopt;
  const auto& names = menagerie::animals();
  return static_cast<int>(std::find(names.begin(), names.end(), name) - names.begin());
}

class MenagerieRun {
 public:
  explicit MenagerieRun(const Flags& flags)
      : flags_(flags),
        folder_(flags.folder),
        png_(wants("png")),
        npy_(wants("npy")),
        digits_(std::max<size_t>(4, std::to_string(last_seed()).size())) {
    options_.size = flags.size;
    options_.animal = class_of(flags.animal);
    options_.marker = class_of(flags.marker);
    options_.companion = class_of(flags.companion);
  }

  int run() {
    check_free();
    prepare_folder(folder_);
    std::unique_ptr<ArraySet> arrays;
    if (npy_) arrays = std::make_unique<ArraySet>(folder_, flags_.count, flags_.size);
    PictureSet pictures(folder_);
    Progress progress(static_cast<size_t>(flags_.count), flags_.progress, flags_.output.quiet);
    catch_interrupts();
    std::vector<int64_t> counts(menagerie::animals().size());
    for (int64_t i = 0; i < flags_.count; ++i) {
      if (interrupted()) return kExitInterrupted;
      const uint64_t seed = flags_.seed + static_cast<uint64_t>(i);
      const std::string name = name_of(seed);
      progress.show(static_cast<size_t>(i), name);
      const menagerie::Scene scene = menagerie::draw(seed, options_);
      ++counts[static_cast<size_t>(scene.animal)];
      if (png_) pictures.add(name, scene, options_);
      if (npy_) arrays->add(scene);
    }
    progress.clear();
    if (npy_) arrays->finish();
    if (png_) pictures.finish();
    report(counts);
    return 0;
  }

 private:
  bool wants(const char* format) const {
    return std::find(flags_.formats.begin(), flags_.formats.end(), format) != flags_.formats.end();
  }

  uint64_t last_seed() const {
    const uint64_t last = flags_.seed + static_cast<uint64_t>(flags_.count - 1);
    if (last < flags_.seed) {
      throw Error(ErrorKind::kUsage, "the seeds of --seed and --count go beyond 64 bits",
                  "use a smaller seed");
    }
    return last;
  }

  std::string name_of(uint64_t seed) const {
    const auto animal = static_cast<size_t>(menagerie::animal_of(seed, options_));
    return fmt::format("{}-{:0{}}", menagerie::animals()[animal], seed, digits_);
  }

  /// Nothing is replaced without --force: not the files that stand for a whole set, nor a picture.
  void check_free() const {
    if (flags_.force) return;
    const auto check = [&](const std::string& file) {
      std::error_code code;
      if (!fs::exists(folder_ / file, code)) return;
      throw Error(ErrorKind::kUsage, "'" + (folder_ / file).string() + "' exists already",
                  "use --force to replace it, or another folder");
    };
    if (png_) check("index.json");
    for (const char* file : {"images.npy", "labels.npy", "parts.npy"}) {
      if (npy_) check(file);
    }
    std::error_code code;
    if (!png_ || !fs::is_directory(folder_, code)) return;
    for (int64_t i = 0; i < flags_.count; ++i) {
      check(name_of(flags_.seed + static_cast<uint64_t>(i)) + ".png");
    }
  }

  void report(const std::vector<int64_t>& counts) const {
    if (flags_.output.json) {
      Json json = {{"folder", flags_.folder}, {"pictures", flags_.count}, {"size", flags_.size}};
      for (size_t i = 0; i < counts.size(); ++i) {
        json["classes"][std::string(menagerie::animals()[i])] = counts[i];
      }
      print_json(json);
    } else if (!flags_.output.quiet) {
      fmt::print("{}: {} of {} x {} pixels, seeds {} to {}\n", flags_.folder,
                 flags_.count == 1 ? "1 picture" : fmt::format("{} pictures", flags_.count),
                 flags_.size, flags_.size, flags_.seed, last_seed());
    }
  }

  const Flags& flags_;
  fs::path folder_;
  bool png_, npy_;
  size_t digits_;
  menagerie::SceneOptions options_;
};

}  // namespace

void add_menagerie(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Command command =
      program.add("menagerie", "Draws pictures of animals whose content is known to the pixel",
                  kExamples, [flags] { return MenagerieRun(*flags).run(); });
  const std::vector<std::string> animals(menagerie::animals().begin(), menagerie::animals().end());
  command.add_option("--count", flags->count, "How many pictures [16]")
      .within(int64_t{1}, int64_t{1} << 40)
      .type_name("N");
  command.add_option("--seed", flags->seed, "Seed of the first picture [0]").type_name("N");
  command.add_option("--size", flags->size, "Pixels of a side, 16 to 4096 [384]")
      .within(16, 4096)
      .type_name("P");
  const auto add_animal = [&](const char* name, std::string& value, const char* help) {
    command.add_option(name, value, help).one_of(animals).type_name("NAME");
  };
  add_animal("--animal", flags->animal, "Only this animal [drawn by lot]");
  add_animal("--companion", flags->companion, "A second animal in each picture");
  add_animal("--marker", flags->marker,
             "Put a badge in a corner of all pictures of this animal: a shortcut to learn");
  command.add_option("-o,--output-dir", flags->folder, "Folder for the files [.]").type_name("DIR");
  command.add_option("--format", flags->formats, "png, npy or both [png]")
      .separated_by(',')
      .one_of({"png", "npy"})
      .type_name("LIST");
  command.add_flag("--force", flags->force, "Replace files that exist");
  command.add_flag("--progress", flags->progress, "Show progress even without a terminal");
  add_output_flags(command, flags->output);
}

}  // namespace camlucida::cli
