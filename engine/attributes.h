#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#include "engine/error.h"

namespace camlucida {

/// A field of an attribute struct in a form that can be printed, compared and stored.
using FieldValue = std::variant<int64_t, double, std::string, std::vector<int64_t>,
                                std::vector<double>, std::vector<std::string>>;
/// All fields of an attribute struct by name, in declaration order.
using FieldList = std::vector<std::pair<std::string, FieldValue>>;

std::string to_string(const FieldList& fields);  ///< "axis=1 keepdims=0", for people

namespace detail {

inline FieldValue to_field(bool value) { return FieldValue(int64_t{value}); }
inline FieldValue to_field(int64_t value) { return FieldValue(value); }
inline FieldValue to_field(double value) { return FieldValue(value); }
inline FieldValue to_field(float value) { return FieldValue(static_cast<double>(value)); }
template <class T>
FieldValue to_field(const T& value) {
  return FieldValue(value);
}

inline void from_field(const FieldValue& field, bool& value) {
  value = std::get<int64_t>(field) != 0;
}
inline void from_field(const FieldValue& field, float& value) {
  value = static_cast<float>(std::get<double>(field));
}
template <class T>
void from_field(const FieldValue& field, T& value) {
  value = std::get<T>(field);
}

}  // namespace detail

/// The attributes of one node: an immutable, shared, type-erased attribute struct.
///
/// Each layer defines its own struct of bool, int64_t, float, double, std::string or vectors of
/// int64_t, double, std::string, and names the fields once:
///
///     struct SoftmaxAttributes {
///       int64_t axis = -1;
///       void fields(auto& visit) { visit("axis", axis); }
///     };
///
/// From that follow printing, comparison and storage in the native model format.
class Attributes {
 public:
  struct None {
    void fields(auto&) {}
  };

  Attributes() : Attributes(None{}) {}
  /// Implicit, so that an attribute struct can stand where attributes are expected.
  template <class T, class = std::enable_if_t<std::is_class_v<T> && !std::is_same_v<T, Attributes>>>
  Attributes(T value) : holder_(std::make_shared<Holder<T>>(std::move(value))) {}

  /// The struct itself. Throws Error(kInternal) if T is not the type that was stored.
  template <class T>
  const T& as() const {
    const auto* holder = dynamic_cast<const Holder<T>*>(holder_.get());
    if (holder == nullptr) {
      throw Error(ErrorKind::kInternal, std::string("attributes read as ") + typeid(T).name());
    }
    return holder->value;
  }

  FieldList fields() const { return holder_->fields(); }
  std::string to_string() const { return camlucida::to_string(fields()); }
  /// A value of the same struct type with the given fields set, the others at their defaults.
  /// Throws Error(kModel) for a field this struct does not have or one of another type.
  Attributes restore(const FieldList& fields) const { return holder_->restore(fields); }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual FieldList fields() const = 0;
    virtual Attributes restore(const FieldList& fields) const = 0;
  };

  template <class T>
  struct Holder final : Base {
    explicit Holder(T v) : value(std::move(v)) {}
    FieldList fields() const override {
      FieldList list;
      auto visit = [&list](const char* name, auto& field) {
        list.emplace_back(name, detail::to_field(field));
      };
      T copy = value;
      copy.fields(visit);
      return list;
    }
    Attributes restore(const FieldList& list) const override {
      T result{};
      size_t used = 0;
      auto visit = [&](const char* name, auto& field) {
        for (const auto& [key, stored] : list) {
          if (key != name) continue;
          try {
            detail::from_field(stored, field);
          } catch (const std::bad_variant_access&) {
            throw Error(ErrorKind::kModel, "attribute '" + key + "' has the wrong type");
          }
          ++used;
        }
      };
      result.fields(visit);
      if (used != list.size()) {
        throw Error(ErrorKind::kModel, "unknown attribute in [" + camlucida::to_string(list) + "]");
      }
      return Attributes(std::move(result));
    }
    T value;
  };

  std::shared_ptr<const Base> holder_;
};

}  // namespace camlucida
