/** What is linted, and by which rules. */

import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig({ ignores: ["node_modules", "dist", "build"] }, tseslint.configs.recommended, {
  rules: { eqeqeq: "error", "prefer-const": "error", "@typescript-eslint/no-non-null-assertion": "off" },
});
