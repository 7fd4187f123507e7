"""Answer extraction, and rewards that need only the text: format, language, length, repetition."""
