//! The controllers: one folder each, wiring and a pure plan.
