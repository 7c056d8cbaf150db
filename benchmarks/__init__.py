"""Benchmarks: programs that measure and print figures. No test asserts on them.

Compare two versions only by runs on the same machine at the same time.
"""
