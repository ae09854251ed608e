// Programs that tests start.
import { existsSync } from 'node:fs';

const SETPRIV = '/usr/bin/setpriv';

/** What precedes a command (of util-linux): what it starts is killed with its parent, however that ends. */
export const WITH_PARENT = existsSync(SETPRIV) ? [SETPRIV, '--pdeathsig', 'KILL'] : [];
