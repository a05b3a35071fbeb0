#include "engine/labels.h"

#include <algorithm>
#include <cctype>
#include <functional>

#include "engine/error.h"
#include "engine/fs.h"

namespace camlucida {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 26;
constexpr size_t kMaxCandidates = 8;

std::string trim(std::string_view text) {
  const auto is_space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return std::string(text);
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

/// `label` split at commas.
bool has_synonym(std::string_view label, const std::string& wanted) {
  if (label.find(',') == std::string_view::npos) return false;
  while (true) {
    const size_t comma = label.find(',');
    if (trim(label.substr(0, comma)) == wanted) return true;
    if (comma == std::string_view::npos) return false;
    label.remove_prefix(comma + 1);
  }
}

/// `wanted` occurs in `label` and does not start or end within a word.
bool has_words(std::string_view label, std::string_view wanted) {
  const auto is_word = [&label](size_t at) {
    const unsigned char c = static_cast<unsigned char>(label[at]);
    return std::isalnum(c) != 0 || c >= 0x80;
  };
  for (size_t at = label.find(wanted); at != std::string_view::npos;
       at = label.find(wanted, at + 1)) {
    const size_t end = at + wanted.size();
    if ((at == 0 || !is_word(at - 1)) && (end == label.size() || !is_word(end))) return true;
  }
  return false;
}

}  // namespace

Labels Labels::load(const std::filesystem::path& path) {
  const std::vector<uint8_t> bytes = read_file(path, kMaxFileBytes, "label file");
  return parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
               "label file '" + path.string() + "'");
}

Labels Labels::parse(std::string_view text, const std::string& origin) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  if (text.find('\0') != std::string_view::npos) {
    throw Error(ErrorKind::kInput, origin + " is not a text file",
                "give a text file with one class per line");
  }

  Labels labels;
  bool identified = true;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t tab = line.find('\t');
    if (tab == std::string_view::npos) identified = false;
    labels.identifiers_.push_back(tab == std::string_view::npos ? "" : trim(line.substr(0, tab)));
    labels.names_.push_back(trim(tab == std::string_view::npos ? line : line.substr(tab + 1)));
  }
  if (!identified) labels.identifiers_.clear();
  if (labels.empty()) {
    throw Error(ErrorKind::kInput, origin + " is empty",
                "give a text file with one class per line");
  }
  return labels;
}

std::string Labels::to_text() const {
  std::string text;
  for (size_t i = 0; i < names_.size(); ++i) {
    if (!identifiers_.empty()) text += identifiers_[i] + '\t';
    text += names_[i] + '\n';
  }
  return text;
}

std::string Labels::name(int index) const {
  if (index >= 0 && index < size() && !names_[static_cast<size_t>(index)].empty()) {
    return names_[static_cast<size_t>(index)];
  }
  return "class " + std::to_string(index);
}

int Labels::find(std::string_view text) const {
  const std::string wanted = lower(trim(text));
  const std::string quoted = std::string("'").append(text).append("'");
  if (empty()) {
    throw Error(ErrorKind::kUsage, "no labels are known to look up class " + quoted + " in",
                "give the number of the class or a label file");
  }
  if (wanted.empty()) throw Error(ErrorKind::kUsage, "the class is an empty text");

  const auto matches = [this](const std::function<bool(size_t, const std::string&)>& rule) {
    std::vector<int> found;
    for (size_t i = 0; i < names_.size(); ++i) {
      if (rule(i, lower(names_[i]))) found.push_back(static_cast<int>(i));
    }
    return found;
  };
  std::vector<int> found = matches([&](size_t i, const std::string& label) {
    return label == wanted || (!identifiers_.empty() && lower(identifiers_[i]) == wanted);
  });
  if (found.empty()) {
    found = matches([&](size_t, const std::string& label) { return has_synonym(label, wanted); });
  }
  if (found.empty()) {
    found = matches([&](size_t, const std::string& label) { return has_words(label, wanted); });
  }
  if (found.size() == 1) return found[0];

  const bool ambiguous = !found.empty();
  if (!ambiguous) {
    found = matches(
        [&](size_t, const std::string& label) { return label.find(wanted) != std::string::npos; });
  }
  std::string candidates;
  for (size_t i = 0; i < std::min(found.size(), kMaxCandidates); ++i) {
    if (i > 0) candidates += ", ";
    candidates += std::to_string(found[i]) + " = " + name(found[i]);
  }
  if (found.size() > kMaxCandidates) {
    candidates += " and " + std::to_string(found.size() - kMaxCandidates) + " more";
  }
  throw Error(ErrorKind::kUsage,
              (ambiguous ? "several classes are called " : "no class is called ") + quoted +
                  (candidates.empty() ? "" : (ambiguous ? ": " : ", similar: ") + candidates),
              "give the number of the class or its full label");
}

}  // namespace camlucida
