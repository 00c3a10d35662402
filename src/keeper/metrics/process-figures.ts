/** What a process knows of itself. */

/** Asked at each reading. */
export interface ProcessFigures {
  /** Wall clock, ms since 1970. */
  readonly startedAt: number;
  /** User and system, microseconds since it began. */
  cpuMicroseconds(): number;
  residentBytes(): number;
}

/** Of the process that this runs in. */
export function ownProcess(): ProcessFigures {
  return {
    startedAt: Date.now() - process.uptime() * 1000,
    cpuMicroseconds: () => {
      const { user, system } = process.cpuUsage();
      return user + system;
    },
    residentBytes: () => process.memoryUsage.rss(),
  };
}
